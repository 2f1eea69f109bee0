#include "base/fd.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::base {

void Fd::Reset(int fd) {
  // Never retried: on Linux the descriptor is gone even when close(2) says EINTR.
  if (fd_ >= 0) ::close(fd_);
  fd_ = fd;
}

absl::StatusOr<FdPair> MakePipe(int extra_flags) {
  int fds[2];
  if (::pipe2(fds, O_CLOEXEC | extra_flags) != 0) return ErrnoStatus("pipe2");
  return FdPair{Fd(fds[0]), Fd(fds[1])};
}

absl::StatusOr<FdPair> MakeSocketPair(int extra_flags) {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | extra_flags, 0, fds) != 0) {
    return ErrnoStatus("socketpair");
  }
  return FdPair{Fd(fds[0]), Fd(fds[1])};
}

absl::StatusOr<Fd> Duplicate(int fd) {
  int copy = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return ErrnoStatus("fcntl F_DUPFD_CLOEXEC");
  return Fd(copy);
}

absl::StatusOr<Fd> Open(const std::string& path, int flags, mode_t mode) {
  int fd;
  do {
    fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  if (fd < 0) return ErrnoStatus(absl::StrCat("open ", path));
  return Fd(fd);
}

absl::Status SetNonBlocking(int fd, bool non_blocking) {
  int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0) return ErrnoStatus("fcntl F_GETFL");
  int wanted = non_blocking ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (::fcntl(fd, F_SETFL, wanted) != 0) return ErrnoStatus("fcntl F_SETFL");
  return absl::OkStatus();
}

absl::Status WriteAll(int fd, absl::string_view data) {
  while (!data.empty()) {
    ssize_t count = ::write(fd, data.data(), data.size());
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("write");
    }
    data.remove_prefix(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

absl::Status PwriteAll(int fd, absl::string_view data, off_t offset) {
  while (!data.empty()) {
    ssize_t count = ::pwrite(fd, data.data(), data.size(), offset);
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("pwrite");
    }
    data.remove_prefix(static_cast<size_t>(count));
    offset += count;
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> ReadSome(int fd, std::span<char> buffer) {
  for (;;) {
    ssize_t count = ::read(fd, buffer.data(), buffer.size());
    if (count >= 0) return static_cast<size_t>(count);
    if (errno != EINTR) return ErrnoStatus("read");
  }
}

absl::StatusOr<std::string> ReadAll(int fd, size_t limit_bytes) {
  std::string result;
  for (;;) {
    const size_t used = result.size();
    const size_t step = 64 * 1024;
    result.resize(used + step);
    ASSIGN_OR_RETURN(size_t count, ReadSome(fd, std::span(result.data() + used, step)));
    result.resize(used + count);
    if (count == 0) return result;
    if (result.size() > limit_bytes) {
      return absl::ResourceExhaustedError(absl::StrCat("more than ", limit_bytes, " bytes"));
    }
  }
}

}  // namespace container::base
