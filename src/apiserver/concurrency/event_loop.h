// One thread that waits for descriptors and timers: ends of helpers (pidfds), changes of files
// (inotify), deadlines. See epoll(7).
//
// Thread-safe. Callbacks run on the loop's thread, outside of any lock, and must not block: they
// post to a queue. A callback runs at most once.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::apiserver {

class EventLoop {
 public:
  using Callback = std::function<void()>;
  /// Above 0 if valid.
  using Token = uint64_t;

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();
  ~EventLoop();

  /// Calls back once when `fd` is readable or at its end. The descriptor stays the caller's and
  /// must stay open until then or until Cancel. One watch a descriptor at a time.
  Token OnReadable(int fd, Callback callback);
  Token After(std::chrono::milliseconds delay, Callback callback);
  /// The callback will not be started any more (but may be under way). Unknown tokens are ignored.
  void Cancel(Token token);

 private:
  struct Watch {
    int fd;
    Callback callback;
  };
  struct Timer {
    Token token;
    Callback callback;
  };
  using Clock = std::chrono::steady_clock;

  EventLoop(base::Fd epoll, base::Fd wake);
  void Run();
  void Wake();
  int NextTimeoutMs();

  base::Fd epoll_;
  base::Fd wake_;
  std::mutex mutex_;
  Token next_token_ = 1;
  std::unordered_map<Token, Watch> watches_;
  std::multimap<Clock::time_point, Timer> timers_;
  bool closing_ = false;
  std::thread thread_;
};

/// Tells when files change: one inotify(7) instance for all, because a user may have few of them.
/// Thread-safe; callbacks run on the loop's thread, must not block, and may come once too often.
class FileWatcher {
 public:
  static absl::StatusOr<std::unique_ptr<FileWatcher>> Create(EventLoop& loop);
  ~FileWatcher();

  /// Calls back at every change of the file, until Unsubscribe. NOT_FOUND if it is not there.
  absl::StatusOr<uint64_t> Subscribe(const std::string& path, std::function<void()> callback);
  void Unsubscribe(uint64_t token);

 private:
  FileWatcher(EventLoop& loop, base::Fd inotify);
  void Arm();
  void Read();

  struct Subscriber {
    int watch;
    std::function<void()> callback;
  };
  EventLoop& loop_;
  base::Fd inotify_;
  std::mutex mutex_;
  uint64_t next_token_ = 1;
  EventLoop::Token armed_ = 0;
  std::map<uint64_t, Subscriber> subscribers_;
};

}  // namespace container::apiserver
