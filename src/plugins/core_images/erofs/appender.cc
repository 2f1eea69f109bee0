#include "plugins/core_images/erofs/appender.h"

#include <fcntl.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/status.h"

namespace container::erofs {
namespace {

// From here on a copy costs more than a system call.
constexpr size_t kDirectBytes = 64 << 10;
constexpr uint64_t kGapBytes = 16 << 10;
constexpr uint64_t kWriteBackBytes = 32 << 20;

}  // namespace

Appender::Appender(int fd, size_t buffer_bytes) : fd_(fd), buffer_(buffer_bytes) {}

// Writes the buffer and then `more`.
absl::Status Appender::Write(std::span<const char> more) {
  size_t total = used_ + more.size();
  iovec parts[2] = {{buffer_.data(), used_}, {const_cast<char*>(more.data()), more.size()}};
  uint64_t offset = start_;
  while (total > 0) {
    const ssize_t written = pwritev(fd_, parts, 2, static_cast<off_t>(offset));
    if (written < 0) {
      if (errno == EINTR) continue;
      return base::ErrnoStatus("write the image");
    }
    offset += static_cast<uint64_t>(written);
    total -= static_cast<size_t>(written);
    auto left = static_cast<size_t>(written);
    for (iovec& part : parts) {
      const size_t count = std::min(left, part.iov_len);
      part.iov_base = static_cast<char*>(part.iov_base) + count;
      part.iov_len -= count;
      left -= count;
    }
  }
  start_ = offset;
  used_ = 0;
  // The disk works while the layer still comes in; the fsync at the end then has little to do.
  if (start_ > writing_back_ + kWriteBackBytes) {
    sync_file_range(fd_, static_cast<off_t>(writing_back_),
                    static_cast<off_t>(start_ - writing_back_), SYNC_FILE_RANGE_WRITE);
    writing_back_ = start_;
  }
  return absl::OkStatus();
}

absl::Status Appender::Flush() { return used_ == 0 ? absl::OkStatus() : Write({}); }

absl::Status Appender::SkipTo(uint64_t target) {
  const uint64_t gap = target - position();
  if (gap == 0) return absl::OkStatus();
  if (gap <= kGapBytes && used_ > 0 && used_ + gap <= buffer_.size()) {
    std::memset(buffer_.data() + used_, 0, gap);
    used_ += gap;
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Flush());
  start_ = target;
  return absl::OkStatus();
}

absl::Status Appender::Append(std::span<const char> data) {
  if (data.size() >= kDirectBytes || used_ + data.size() > buffer_.size()) return Write(data);
  if (!data.empty()) std::memcpy(buffer_.data() + used_, data.data(), data.size());
  used_ += data.size();
  return absl::OkStatus();
}

}  // namespace container::erofs
