#include "vminitd/agent_port.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "vminitd/bounds.h"

namespace container::vminitd {
namespace {

using base::ErrnoStatus;
using base::Fd;

// Empty if there is no port of that name (yet).
std::string FindPort() {
  std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir("/sys/class/virtio-ports"), &::closedir);
  if (folder == nullptr) return {};
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    Fd fd(::open(absl::StrCat("/sys/class/virtio-ports/", entry->d_name, "/name").c_str(),
                 O_RDONLY | O_CLOEXEC));
    char name[64];
    const ssize_t count = fd ? ::read(fd.get(), name, sizeof name) : -1;
    if (count <= 0) continue;
    if (absl::StripSuffix(absl::string_view(name, count), "\n") == kAgentPortName) {
      return absl::StrCat("/dev/", entry->d_name);
    }
  }
  return {};
}

// The kernel announces a port's name with an event, as the host tells it after the port itself.
absl::StatusOr<Fd> ListenForDevices() {
  Fd events(::socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT));
  if (!events) return ErrnoStatus("netlink socket");
  sockaddr_nl address{};
  address.nl_family = AF_NETLINK;
  address.nl_groups = 1;
  if (::bind(events.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoStatus("bind a netlink socket");
  }
  return events;
}

}  // namespace

absl::StatusOr<Fd> OpenAgentPort() {
  std::string path = FindPort();
  if (path.empty()) {
    ASSIGN_OR_RETURN(Fd events, ListenForDevices());
    // The event may have come before the socket.
    while ((path = FindPort()).empty()) {
      char message[4096];
      if (::recv(events.get(), message, sizeof message, 0) < 0 && errno != EINTR &&
          errno != ENOBUFS) {
        return ErrnoStatus("wait for the agent port");
      }
    }
  }
  // Non-blocking: a blocking write would spin in the kernel until the host has taken the data.
  return base::Open(path, O_RDWR | O_NONBLOCK | O_NOCTTY);
}

}  // namespace container::vminitd
