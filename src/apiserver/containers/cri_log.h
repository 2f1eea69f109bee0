// Reads a container's log: the CRI format, one record a line,
//
//   2026-01-31T12:00:00.123456789Z stdout F the text
//
// where F ends a line of the program's and P is a part of one. Source: the Kubernetes CRI's
// "kubelet-cri-logging" design. A line that is not in the format is passed on as it is, so that
// nothing a container said is lost. A last line without its newline is still being written and
// waits.
//
// Not thread-safe. Errors: NOT_FOUND (no such file), those of read(2).
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fd.h"

namespace container::apiserver {

struct LogChunk {
  std::string data;  // at most kMostLogBytes
  bool standard_error = false;
  int64_t time_ns = 0;  // of its first record; 0: not known
};

inline constexpr size_t kMostLogBytes = 64 << 10;

/// One parsed record. `text` has the newline that F stands for.
struct LogRecord {
  int64_t time_ns = 0;
  bool standard_error = false;
  std::string text;
};
/// Nothing if `line` (without its newline) is not in the format.
std::optional<LogRecord> ParseCriLine(absl::string_view line);

class LogReader {
 public:
  enum class Format { kCri, kRaw };
  /// `tail`: begin so many lines before the end; negative: at the beginning.
  static absl::StatusOr<LogReader> Open(const std::string& path, Format format, int64_t tail);

  /// What comes next; nothing at the (present) end of the file. Records of one stream that were
  /// written within a millisecond come together.
  absl::StatusOr<std::optional<LogChunk>> Next();

 private:
  LogReader(base::Fd file, Format format) : file_(std::move(file)), format_(format) {}
  absl::Status SeekTail(int64_t lines);
  absl::StatusOr<bool> Fill();
  std::optional<LogRecord> TakeRecord();

  base::Fd file_;
  Format format_;
  std::string buffer_;  // read but not yet passed on
  size_t taken_ = 0;    // of buffer_
  std::optional<LogRecord> ahead_;
};

}  // namespace container::apiserver
