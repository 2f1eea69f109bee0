// container.log: what the container's first process wrote, in the CRI log format,
// "<RFC 3339 time with nanoseconds> stdout|stderr F|P <text>\n".
//
// P marks a piece that goes on in the next record of the same stream, F the last piece of a line. A
// piece is written as soon as it is there, so a prompt without a newline is in the log at once and
// nothing is lost when this process dies.
//
// Source: kubernetes design-proposals, "CRI: Dockershim/log format".
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fd.h"

namespace container::runtime_linux {

/// The records of one piece of output; `time` is an RFC 3339 text.
std::string FormatLogRecords(absl::string_view time, absl::string_view stream,
                             absl::string_view data);

/// Not thread-safe.
class ProcessLog {
 public:
  /// The longest text of one record.
  static constexpr size_t kMaxRecordBytes = 16 << 10;

  /// Appends to `path`.
  static absl::StatusOr<ProcessLog> Open(const std::string& path);
  /// `stream` is "stdout" or "stderr".
  absl::Status Append(absl::string_view stream, absl::string_view data);

 private:
  explicit ProcessLog(base::Fd file) : file_(std::move(file)) {}
  base::Fd file_;
};

}  // namespace container::runtime_linux
