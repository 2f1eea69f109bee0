// What long work tells those who watch, and how they stop it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>

namespace container::images {

struct ProgressEvent {
  std::string task_id;
  std::string description;
  int64_t completed_bytes = 0;
  int64_t total_bytes = 0;  // 0: not known
  bool done = false;
};

using ProgressSink = std::function<void(const ProgressEvent&)>;
/// True when the work is no longer wanted.
using Cancelled = std::function<bool()>;

/// Passes events on one at a time and not more often than a person can see; the end of a task
/// always. Threads: may be used by several at once.
class Reporter {
 public:
  explicit Reporter(ProgressSink sink) : sink_(std::move(sink)) {}

  void Report(const ProgressEvent& event) {
    constexpr auto kInterval = std::chrono::milliseconds(100);
    if (!sink_) return;
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    const auto [last, is_new] = last_.try_emplace(event.task_id, now);
    if (!event.done && !is_new && now - last->second < kInterval) return;
    last->second = now;
    sink_(event);
  }

 private:
  ProgressSink sink_;
  std::mutex mutex_;
  std::map<std::string, std::chrono::steady_clock::time_point> last_;
};

}  // namespace container::images
