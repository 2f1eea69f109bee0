// The logs of the apiserver and its helpers as one, by time.
//
// Every file in the log root is "time level program[pid] text" a line, times in UTC with
// milliseconds, so that lines sort by their first word. A line without a time (a crash's last
// words) belongs to the line before it. Not thread-safe.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::apiserver {

class SystemLogs {
 public:
  /// Lines at or after `since` (as lines begin: "2026-01-31T12:00:00.000Z"; "" : all).
  SystemLogs(std::string log_root, std::string since)
      : log_root_(std::move(log_root)), since_(std::move(since)) {}

  /// What has come since the last call, merged; at most some 64 KiB; nothing if there is nothing.
  absl::StatusOr<std::optional<std::string>> Next();

  /// The files read so far, to be watched.
  std::vector<std::string> Files() const;

 private:
  struct Source {
    std::string path;
    base::Fd file;
    std::string partial;    // of a line
    std::string last_time;  // of the line before
  };
  struct Line {
    std::string time;
    std::string text;
  };
  void FindFiles();
  absl::Status ReadLines(Source& source, std::vector<Line>& lines) const;

  const std::string log_root_;
  const std::string since_;
  std::vector<Source> sources_;
  std::string pending_;
};

}  // namespace container::apiserver
