#include "vminitd/supervisor.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/reboot.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "vminitd/bounds.h"
#include "vminitd/guest_log.h"

namespace container::vminitd {
namespace {

constexpr size_t kMaxHostnameBytes = 64;
constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxSerialBytes = 20;

// An id names a folder of the cgroup hierarchy.
absl::Status CheckId(const std::string& id) {
  const bool good = !id.empty() && id.size() <= kMaxIdBytes && absl::ascii_isalnum(id[0]) &&
                    std::all_of(id.begin(), id.end(), [](unsigned char c) {
                      return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("'", id, "' is not a container's id"));
}

absl::StatusOr<Disk> CheckDisk(const v1::BlockDevice& device, const char* name) {
  if (device.serial().empty() || device.serial().size() > kMaxSerialBytes) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": the serial is missing or too long"));
  }
  if (device.filesystem() != "erofs" && device.filesystem() != "ext4") {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": unknown file system '", device.filesystem(), "'"));
  }
  return Disk{device.serial(), device.filesystem()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Supervisor>> Supervisor::Create(EventLoop* loop) {
  std::unique_ptr<Supervisor> supervisor(new Supervisor(loop));
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGCHLD);
  supervisor->child_signal_.Reset(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  const int fd = supervisor->child_signal_.get();
  if (fd < 0) return base::ErrnoStatus("signalfd");
  RETURN_IF_ERROR(loop->Watch(fd, EPOLLIN, [self = supervisor.get()] { self->Reap(); }));
  return supervisor;
}

void Supervisor::CreateContainer(const v1::CreateContainerRequest& request, Done done) {
  const std::string& id = request.container_id();
  RootDisks disks;
  const absl::Status valid = [&]() -> absl::Status {
    if (powering_off_) return absl::FailedPreconditionError("the VM is powering off");
    RETURN_IF_ERROR(CheckId(id));
    if (request.hostname().empty() || request.hostname().size() > kMaxHostnameBytes) {
      return absl::InvalidArgumentError("the hostname is missing or longer than 64 bytes");
    }
    ASSIGN_OR_RETURN(disks.lower, CheckDisk(request.root().lower(), "lower"));
    ASSIGN_OR_RETURN(disks.upper, CheckDisk(request.root().upper(), "upper"));
    if (containers_.contains(id)) {
      return absl::AlreadyExistsError(absl::StrCat("container '", id, "' exists"));
    }
    if (containers_.size() >= kMaxContainers) {
      return absl::ResourceExhaustedError("too many containers in one VM");
    }
    return absl::OkStatus();
  }();
  if (!valid.ok()) return done(valid);

  std::unique_ptr<Container> container;
  if (prepared_ != nullptr && prepared_->disks() == disks) {
    container = std::move(prepared_);
  } else {
    // Whatever was mounted in advance is let go of first: a disk is mounted once.
    prepared_.reset();
    container = std::make_unique<Container>(disks);
  }
  ContainerEntry& entry = containers_[id];
  entry.container = std::move(container);
  entry.container->Create(request, [this, id, done = std::move(done)](absl::Status status) {
    loop_->Post([this, id, done, status] {
      // Processes that waited find its failure when they start; it can then be tried again.
      if (!status.ok()) {
        Log("container %s: %s", id.c_str(), std::string(status.message()).c_str());
        containers_.erase(id);
      }
      done(status);
    });
  });
  std::vector<Process*> parked = std::move(parked_);
  parked_.clear();
  for (Process* process : parked) Start(*process);
}

Process* Supervisor::AddProcess(ProcessStream* stream) {
  auto process =
      std::make_unique<Process>(Process::Host{loop_, [this](Process& started) { Start(started); },
                                              [this](Process& spawned) { OnSpawned(spawned); }},
                                stream);
  Process* added = process.get();
  processes_[added] = std::move(process);
  return added;
}

void Supervisor::Drop(Process* process) {
  std::erase(parked_, process);
  if (auto child = children_.find(process->pid());
      child != children_.end() && child->second == process) {
    child->second = nullptr;
  }
  processes_.erase(process);
}

void Supervisor::Start(Process& process) {
  const v1::StartProcess& request = process.request();
  if (powering_off_) return process.Fail(absl::FailedPreconditionError("the VM is powering off"));
  auto found = containers_.find(request.container_id());
  if (found != containers_.end()) return StartIn(found->second, process);
  // The call may have overtaken the creation of its container.
  parked_.push_back(&process);
  loop_->PostAfter(kCreateGrace, [this, waiting = &process] {
    auto still = std::find(parked_.begin(), parked_.end(), waiting);
    if (still == parked_.end()) return;
    parked_.erase(still);
    waiting->Fail(absl::NotFoundError(
        absl::StrCat("no container '", waiting->request().container_id(), "'")));
  });
}

void Supervisor::StartIn(ContainerEntry& entry, Process& process) {
  const v1::StartProcess& request = process.request();
  if (processes_.size() > kMaxProcesses) {
    return process.Fail(absl::ResourceExhaustedError("too many processes"));
  }
  for (const auto& [other, owned] : processes_) {
    if (other != &process && other->occupies_id() &&
        other->request().container_id() == request.container_id() &&
        other->request().process_id() == request.process_id()) {
      return process.Fail(
          absl::AlreadyExistsError(absl::StrCat("process '", request.process_id(), "' exists")));
    }
  }
  if (process.is_first()) {
    if (entry.first_requested) {
      return process.Fail(
          absl::FailedPreconditionError("the container's first process was started before"));
    }
    entry.first_requested = true;
  }
  entry.container->Start(
      request.spec(), process.is_first(), [this, &process](StartedProcess started) {
        // Descriptors are move-only, what a task holds must be copyable.
        auto shared = std::make_shared<StartedProcess>(std::move(started));
        loop_->Post([&process, shared] { process.OnStarted(std::move(*shared)); });
      });
}

void Supervisor::OnSpawned(Process& process) {
  const pid_t pid = process.pid();
  if (auto early = early_exits_.find(pid); early != early_exits_.end()) {
    const int status = early->second;
    early_exits_.erase(early);
    // After what the process is just being told.
    loop_->Post([this, waiting = &process, status] {
      if (processes_.contains(waiting)) waiting->OnExit(status);
    });
    return;
  }
  children_[pid] = &process;
}

void Supervisor::Reap() {
  signalfd_siginfo info;
  while (::read(child_signal_.get(), &info, sizeof info) > 0) {
  }
  loop_->Arm(child_signal_.get(), EPOLLIN);
  for (;;) {
    int status = 0;
    const pid_t pid = ::waitpid(-1, &status, WNOHANG);
    if (pid < 0 && errno == EINTR) continue;
    if (pid < 0 && powering_off_) EndVm();
    if (pid <= 0) return;
    auto child = children_.find(pid);
    if (child == children_.end()) {
      early_exits_[pid] = status;
      continue;
    }
    Process* process = child->second;
    children_.erase(child);
    if (process != nullptr) process->OnExit(status);
  }
}

absl::StatusOr<Process*> Supervisor::FindProcess(const std::string& container_id,
                                                 const std::string& process_id) {
  for (const auto& [process, owned] : processes_) {
    if (process->alive() && process->request().container_id() == container_id &&
        process->request().process_id() == process_id) {
      return process;
    }
  }
  return absl::NotFoundError(
      absl::StrCat("no process '", process_id, "' runs in container '", container_id, "'"));
}

absl::Status Supervisor::Signal(const v1::SignalProcessRequest& request) {
  if (request.signal() < 1 || request.signal() > 64) {
    return absl::InvalidArgumentError(absl::StrCat(request.signal(), " is not a signal"));
  }
  ASSIGN_OR_RETURN(Process * process, FindProcess(request.container_id(), request.process_id()));
  process->Kill(request.signal());
  return absl::OkStatus();
}

absl::Status Supervisor::Resize(const v1::ResizeTerminalRequest& request) {
  ASSIGN_OR_RETURN(Process * process, FindProcess(request.container_id(), request.process_id()));
  return process->Resize(request.size());
}

void Supervisor::PowerOff() {
  if (powering_off_) return;
  powering_off_ = true;
  // To all but this process itself.
  ::kill(-1, SIGKILL);
  Reap();
}

// Nothing is left to reap.
void Supervisor::EndVm() {
  prepared_.reset();
  containers_.clear();
  ::sync();
  // On a microvm a restart, with `-no-reboot` and `reboot=t`, is the way to end the VM: there is
  // nothing that could switch the power off.
  ::reboot(RB_AUTOBOOT);
  Log("reboot failed");
}

}  // namespace container::vminitd
