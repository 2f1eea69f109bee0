// One thread's loop over descriptors, posted tasks and time: epoll(7).
//
// Everything but Post is for the loop's own thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::vminitd {

class EventLoop {
 public:
  using Task = std::function<void()>;

  static absl::StatusOr<std::unique_ptr<EventLoop>> Create();

  /// Runs `task` on the loop's thread, soon. Any thread; tasks of one thread keep their order.
  void Post(Task task);

  /// Calls `ready` once when `fd` has one of `events` (EPOLLIN, EPOLLOUT), an error or a hang-up;
  /// after that Arm asks for the next time. With EPOLLET: at every edge, without Arm. `fd` must be
  /// unwatched before it is closed.
  absl::Status Watch(int fd, uint32_t events, Task ready);
  void Arm(int fd, uint32_t events);
  void Unwatch(int fd);

  /// Runs `task` after `delay`.
  void PostAfter(std::chrono::milliseconds delay, Task task);

  /// Runs for ever.
  [[noreturn]] void Run();

 private:
  using Clock = std::chrono::steady_clock;
  struct Timer {
    Clock::time_point due;
    Task task;
  };

  EventLoop() = default;
  void RunPosted();
  void RunDueTimers();
  int TimeoutMilliseconds() const;

  base::Fd epoll_;
  base::Fd wake_;
  std::unordered_map<int, std::shared_ptr<Task>> watched_;
  std::vector<Timer> timers_;  // few, unsorted

  std::mutex mutex_;
  std::vector<Task> posted_;  // guarded by mutex_
};

}  // namespace container::vminitd
