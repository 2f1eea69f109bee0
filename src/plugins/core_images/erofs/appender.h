// Writes a file in ascending order through one large buffer.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"

namespace container::erofs {

/// Collects bytes and writes them by pwritev(2); what is skipped stays a hole. Doesn't own the
/// descriptor. Errors are those of the system call (RESOURCE_EXHAUSTED: the disk is full).
class Appender {
 public:
  explicit Appender(int fd, size_t buffer_bytes = 1 << 20);

  /// The offset that the next byte gets.
  uint64_t position() const { return start_ + used_; }
  /// Goes on at `position`, at or behind the present one. Short gaps are filled with zeros.
  absl::Status SkipTo(uint64_t position);
  absl::Status Append(std::span<const char> data);
  absl::Status Flush();

 private:
  absl::Status Write(std::span<const char> more);

  int fd_;
  std::vector<char> buffer_;
  size_t used_ = 0;
  uint64_t start_ = 0;
  uint64_t writing_back_ = 0;  // up to here the kernel was told to start writing to disk
};

}  // namespace container::erofs
