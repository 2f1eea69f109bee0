// The one owner of a file descriptor, and loops around read(2) and write(2).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace container::base {

/// Move-only owner of a file descriptor; closes it at the end of its life.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.Release()) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  explicit operator bool() const { return valid(); }

  /// Gives up ownership.
  int Release() { return std::exchange(fd_, -1); }
  /// Closes what is held and takes `fd`.
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

struct FdPair {
  Fd first;
  Fd second;
};

/// pipe2(2), close-on-exec: first reads, second writes.
absl::StatusOr<FdPair> MakePipe(int extra_flags = 0);
/// socketpair(2) of AF_UNIX stream sockets, close-on-exec.
absl::StatusOr<FdPair> MakeSocketPair(int extra_flags = 0);
/// fcntl F_DUPFD_CLOEXEC.
absl::StatusOr<Fd> Duplicate(int fd);
/// open(2) with O_CLOEXEC; the error names the path.
absl::StatusOr<Fd> Open(const std::string& path, int flags, mode_t mode = 0);

absl::Status SetNonBlocking(int fd, bool non_blocking);

/// Writes all of `data` to a blocking descriptor, going on after EINTR and short writes.
absl::Status WriteAll(int fd, absl::string_view data);
/// pwrite(2) likewise.
absl::Status PwriteAll(int fd, absl::string_view data, off_t offset);
/// read(2) going on after EINTR; 0 at the end of the file.
absl::StatusOr<size_t> ReadSome(int fd, std::span<char> buffer);
/// Reads until the end; RESOURCE_EXHAUSTED past `limit_bytes`.
absl::StatusOr<std::string> ReadAll(int fd, size_t limit_bytes);

}  // namespace container::base
