#include "base/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::base {
namespace {

absl::StatusOr<sockaddr_un> Address(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("the socket's path '", path, "' has ",
                                                   path.size(), " bytes; 1 to 107 are possible"));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

absl::StatusOr<Fd> ListenUnix(const std::string& path, int backlog) {
  ASSIGN_OR_RETURN(sockaddr_un address, Address(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus("socket");
  if (::unlink(path.c_str()) != 0 && errno != ENOENT)
    return ErrnoStatus(absl::StrCat("unlink ", path));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoStatus(absl::StrCat("bind ", path));
  }
  // The folder is 0700 already; this is the second lock.
  if (::chmod(path.c_str(), 0600) != 0) return ErrnoStatus(absl::StrCat("chmod ", path));
  if (::listen(fd.get(), backlog) != 0) return ErrnoStatus(absl::StrCat("listen ", path));
  return fd;
}

absl::StatusOr<Fd> ConnectUnix(const std::string& path) {
  ASSIGN_OR_RETURN(sockaddr_un address, Address(path));
  Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus("socket");
  while (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    if (errno != EINTR) return ErrnoStatus(absl::StrCat("connect to ", path));
  }
  RETURN_IF_ERROR(CheckPeer(fd.get()), path);
  return fd;
}

absl::StatusOr<Fd> AcceptUnix(int listener) {
  for (;;) {
    Fd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EINTR || errno == ECONNABORTED) continue;
      return ErrnoStatus("accept");
    }
    if (CheckPeer(fd.get()).ok()) return fd;
  }
}

absl::Status CheckPeer(int fd) {
  ucred peer = {};
  socklen_t size = sizeof peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return ErrnoStatus("getsockopt SO_PEERCRED");
  }
  // Root can do anything to this user's processes anyhow.
  if (peer.uid != ::geteuid() && peer.uid != 0) {
    return absl::PermissionDeniedError(
        absl::StrCat("the peer runs as uid ", peer.uid, ", not as uid ", ::geteuid()));
  }
  return absl::OkStatus();
}

}  // namespace container::base
