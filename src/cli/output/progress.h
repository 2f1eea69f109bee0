// Shows long work on standard error: bars where a person watches, plain lines elsewhere.
//
// Not thread-safe: one command shows one thing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::cli {

/// One step of one task; see common.v1.Progress.
struct ProgressEvent {
  std::string task_id;
  std::string description;
  int64_t completed = 0;
  int64_t total = 0;  // 0: not known
  bool bytes = false;
  bool done = false;
};

enum class ProgressMode { kNone, kPlain, kAnsi, kColor };

/// "auto" chooses by what standard error is (and NO_COLOR, and TERM=dumb); INVALID_ARGUMENT for an
/// unknown word.
absl::StatusOr<ProgressMode> ParseProgressMode(absl::string_view text);

/// "auto|none|ansi|plain|color", for the help.
inline constexpr absl::string_view kProgressModes = "auto|none|ansi|plain|color";

class Progress {
 public:
  using Clock = std::chrono::steady_clock;
  /// Writes to `fd` (not owned).
  explicit Progress(ProgressMode mode, int fd = 2) : mode_(mode), fd_(fd) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  /// Finishes.
  ~Progress() { Finish(); }

  void Update(const ProgressEvent& event, Clock::time_point now = Clock::now());
  /// Draws the last state; what is printed from then on stands below it.
  void Finish();

 private:
  struct Task {
    ProgressEvent last;
    Clock::time_point started;
    Clock::time_point printed;
  };
  void UpdatePlain(Task& task, bool is_new, Clock::time_point now);
  void Draw();
  std::string Bar(const Task& task, size_t width) const;
  void Write(absl::string_view text) const;

  ProgressMode mode_;
  int fd_;
  std::vector<Task> tasks_;  // in the order of their first event
  Clock::time_point drawn_at_;
  size_t lines_drawn_ = 0;
  bool stale_ = false;  // an event came since the last drawing
};

}  // namespace container::cli
