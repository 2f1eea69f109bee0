#include "vminitd/agent_port.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "vminitd/guest_log.h"
#include "vminitd/bounds.h"

namespace container::vminitd {
namespace {

using base::ErrnoStatus;
using base::Fd;

constexpr size_t kBufferBytes = 64 << 10;

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

struct Pump {
  Fd port;
  Fd socket;
  void (*closed)(void*);
  void* context;
};

void WaitFor(int fd, short events) {
  pollfd wait{fd, events, 0};
  ::poll(&wait, 1, -1);
}

// While the host's side is closed a port reads as ended and polls as hung up: only the edge of an
// edge-triggered epoll tells when that changes.
void FromPort(std::shared_ptr<Pump> pump) {
  auto buffer = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  Fd epoll(::epoll_create1(EPOLL_CLOEXEC));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, pump->port.get(), &event);
  bool connected = false;
  for (;;) {
    const ssize_t count = ::read(pump->port.get(), buffer.get(), kBufferBytes);
    if (count > 0) {
      connected = true;
      if (!base::WriteAll(pump->socket.get(), absl::string_view(buffer.get(), count)).ok()) break;
    } else if (count == 0 && connected) {
      break;
    } else if (count == 0 || errno == EAGAIN) {
      ::epoll_wait(epoll.get(), &event, 1, -1);
    } else if (errno != EINTR) {
      Log("agent port: %s", std::strerror(errno));
      break;
    }
  }
  ::shutdown(pump->socket.get(), SHUT_RDWR);
  pump->closed(pump->context);
}

void ToPort(std::shared_ptr<Pump> pump) {
  auto buffer = std::make_unique_for_overwrite<char[]>(kBufferBytes);
  for (;;) {
    const ssize_t count = ::read(pump->socket.get(), buffer.get(), kBufferBytes);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return;
    for (ssize_t written = 0; written < count;) {
      const ssize_t step = ::write(pump->port.get(), buffer.get() + written, count - written);
      if (step > 0) {
        written += step;
      } else if (step == 0 || errno == EAGAIN) {
        WaitFor(pump->port.get(), POLLOUT);
      } else if (errno != EINTR) {
        return;
      }
    }
  }
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

absl::StatusOr<Fd> JoinAgentPort(Fd port, void (*closed)(void*), void* context) {
  ASSIGN_OR_RETURN(base::FdPair pair, base::MakeSocketPair());
  RETURN_IF_ERROR(base::SetNonBlocking(pair.first.get(), true));
  auto pump = std::make_shared<Pump>(Pump{std::move(port), std::move(pair.second), closed, context});
  std::thread(FromPort, pump).detach();
  std::thread(ToPort, pump).detach();
  return std::move(pair.first);
}

}  // namespace container::vminitd
