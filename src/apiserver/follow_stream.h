// A server-streaming call that sends what a file holds and, if it follows, what is added to it,
// without a thread of its own: it reads on the pool, and waits by the file watcher.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "apiserver/concurrency/event_loop.h"
#include "apiserver/concurrency/task_pool.h"
#include "base/rpc.h"

namespace container::apiserver {

/// Where a FollowStream's messages come from. Used by one thread at a time.
template <typename Response>
class FollowSource {
 public:
  virtual ~FollowSource() = default;
  /// The next message; nothing at the present end.
  virtual absl::StatusOr<std::optional<Response>> Next() = 0;
  /// True if nothing will be added any more. Asked before Next.
  virtual bool Ended() = 0;
  /// To be watched for changes.
  virtual std::vector<std::string> Files() = 0;
};

/// Deletes itself when the call is done.
template <typename Response>
class FollowStream : public grpc::ServerWriteReactor<Response> {
 public:
  FollowStream(TaskPool& pool, FileWatcher& watcher, std::unique_ptr<FollowSource<Response>> source)
      : shared_(std::make_shared<Shared>(this, pool, watcher, std::move(source))) {}

  void Begin() { Wake(shared_); }
  /// Wakes it, for instance because the source has ended. Callable at any time, on any thread.
  std::function<void()> Waker() {
    return [weak = std::weak_ptr<Shared>(shared_)] {
      if (auto shared = weak.lock()) Wake(shared);
    };
  }
  /// Runs when the call is done.
  void OnceDone(std::function<void()> done) { done_ = std::move(done); }

  void OnWriteDone(bool ok) override {
    if (!ok) {
      End(shared_, grpc::Status::CANCELLED);
      return;
    }
    shared_->pool.Post([shared = shared_] { Advance(shared); });
  }
  void OnCancel() override {
    {
      std::lock_guard lock(shared_->mutex);
      shared_->cancelled = true;
    }
    Wake(shared_);
  }
  void OnDone() override {
    Unwatch(*shared_);
    if (done_) done_();
    delete this;
  }

 private:
  enum class Phase { kIdle, kBusy, kEnded };
  struct Shared {
    Shared(FollowStream* owner, TaskPool& task_pool, FileWatcher& file_watcher,
           std::unique_ptr<FollowSource<Response>> from)
        : stream(owner), pool(task_pool), watcher(file_watcher), source(std::move(from)) {}
    FollowStream* const stream;  // valid until kEnded
    TaskPool& pool;
    FileWatcher& watcher;
    const std::unique_ptr<FollowSource<Response>> source;
    Response response;
    std::mutex mutex;
    Phase phase = Phase::kIdle;
    bool again = false;  // something happened while it was busy
    bool cancelled = false;
    std::vector<std::string> watched;
    std::vector<uint64_t> watches;
  };

  static void Wake(const std::shared_ptr<Shared>& shared) {
    {
      std::lock_guard lock(shared->mutex);
      if (shared->phase == Phase::kBusy) shared->again = true;
      if (shared->phase != Phase::kIdle) return;
      shared->phase = Phase::kBusy;
    }
    shared->pool.Post([shared] { Advance(shared); });
  }

  /// In kBusy, by one thread.
  static void Advance(const std::shared_ptr<Shared>& shared) {
    for (;;) {
      bool cancelled;
      {
        std::lock_guard lock(shared->mutex);
        shared->again = false;
        cancelled = shared->cancelled;
      }
      if (cancelled) {
        End(shared, grpc::Status::CANCELLED);
        return;
      }
      const bool last = shared->source->Ended();
      auto next = shared->source->Next();
      if (!next.ok()) {
        End(shared, base::ToGrpc(next.status()));
        return;
      }
      if (next->has_value()) {
        shared->response = **std::move(next);
        shared->stream->StartWrite(&shared->response);
        return;
      }
      if (last) {
        End(shared, grpc::Status::OK);
        return;
      }
      // What is added between the reading and the watching is read in another round.
      if (Watch(shared)) continue;
      std::lock_guard lock(shared->mutex);
      if (shared->again) continue;
      shared->phase = Phase::kIdle;
      return;
    }
  }

  /// True if a file is watched that was not before.
  static bool Watch(const std::shared_ptr<Shared>& shared) {
    bool added = false;
    for (const std::string& path : shared->source->Files()) {
      if (std::find(shared->watched.begin(), shared->watched.end(), path) !=
          shared->watched.end()) {
        continue;
      }
      auto token = shared->watcher.Subscribe(path, [weak = std::weak_ptr<Shared>(shared)] {
        if (auto alive = weak.lock()) Wake(alive);
      });
      if (!token.ok()) continue;
      std::lock_guard lock(shared->mutex);
      shared->watched.push_back(path);
      shared->watches.push_back(*token);
      added = true;
    }
    return added;
  }
  static void Unwatch(Shared& shared) {
    std::vector<uint64_t> watches;
    {
      std::lock_guard lock(shared.mutex);
      watches.swap(shared.watches);
    }
    for (uint64_t token : watches) shared.watcher.Unsubscribe(token);
  }
  static void End(const std::shared_ptr<Shared>& shared, const grpc::Status& status) {
    {
      std::lock_guard lock(shared->mutex);
      if (shared->phase == Phase::kEnded) return;
      shared->phase = Phase::kEnded;
    }
    shared->stream->Finish(status);
  }

  const std::shared_ptr<Shared> shared_;
  std::function<void()> done_;
};

}  // namespace container::apiserver
