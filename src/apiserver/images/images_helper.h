// Keeps container-core-images running: launches it, or takes over the one that an earlier apiserver
// left, and launches it anew, with growing pauses, when it ends.
//
// Thread-safe. Callbacks run on the pool or at once, never under a lock.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "apiserver/concurrency/event_loop.h"
#include "apiserver/concurrency/task_pool.h"
#include "apiserver/plugins/helper_process.h"
#include "base/paths.h"
#include "proto/images.pb.h"

namespace grpc {
class Channel;
}

namespace container::apiserver {

class ImagesHelper : public std::enable_shared_from_this<ImagesHelper> {
 public:
  using ChannelDone = std::function<void(absl::StatusOr<std::shared_ptr<grpc::Channel>>)>;

  static constexpr char kName[] = "container-core-images";

  ImagesHelper(base::Paths paths, TaskPool& pool, EventLoop& loop);

  /// Begins; calls may be made at once.
  void Start();
  /// Ends the helper and launches no other. Blocks for a few seconds at most.
  void Shutdown();

  /// A channel to the helper; if it is not there yet (or any more), waits for `patience`, then
  /// UNAVAILABLE with the reason.
  void WithChannel(std::chrono::milliseconds patience, ChannelDone done);

  /// Blocks. The errors of proto/images.proto.
  absl::StatusOr<images::v1::Root> PrepareRoot(const std::string& reference,
                                               const std::string& platform);

  struct Info {
    pid_t pid = 0;
    std::string version;
    std::string state;  // "running", or why not
  };
  Info info() const;

 private:
  void Launch();  // in the queue
  absl::StatusOr<std::shared_ptr<HelperProcess>> TakeOver();
  absl::Status Use(std::shared_ptr<HelperProcess> helper, std::chrono::milliseconds timeout);
  void Ended(const HelperProcess* helper);
  void Fail(const absl::Status& why);
  void Serve();
  std::string RecordFile() const { return paths_.runtime_dir() + "/images.json"; }

  const base::Paths paths_;
  EventLoop& loop_;
  SerialQueue queue_;

  mutable std::mutex mutex_;
  std::shared_ptr<HelperProcess> helper_;
  std::shared_ptr<grpc::Channel> channel_;
  std::string version_;
  std::string state_ = "starting";
  std::chrono::milliseconds pause_{0};
  std::chrono::steady_clock::time_point since_;
  bool closing_ = false;
  uint64_t next_waiter_ = 1;
  std::map<uint64_t, ChannelDone> waiters_;
};

}  // namespace container::apiserver
