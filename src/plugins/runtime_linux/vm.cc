#include "plugins/runtime_linux/vm.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace container::runtime_linux {
namespace {

using std::chrono::milliseconds;

bool IsTrue(const nlohmann::json& object, const char* key) {
  auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Vm>> Vm::Launch(VmSpec spec, std::string console_log_path,
                                               std::function<void()> on_end) {
  ASSIGN_OR_RETURN(ConsoleLog console_log, ConsoleLog::Create(std::move(console_log_path)));
  ASSIGN_OR_RETURN(base::FdPair qmp, base::MakeSocketPair());
  ASSIGN_OR_RETURN(base::FdPair agent, base::MakeSocketPair());
  ASSIGN_OR_RETURN(base::FdPair console, base::MakeSocketPair());
  spec.qmp_fd = qmp.second.get();
  spec.agent_fd = agent.second.get();
  spec.console_fd = console.second.get();

  std::unique_ptr<Vm> vm(new Vm(std::move(console_log), std::move(on_end)));
  vm->agent_ = std::move(agent.first);
  vm->console_ = std::move(console.first);
  Vm* raw = vm.get();
  ASSIGN_OR_RETURN(vm->qmp_, Qmp::Create(std::move(qmp.first), [raw](const std::string& name,
                                                                     const nlohmann::json& data) {
                     // Nobody asks QEMU to stop the guest: it does so when
                     // it can't go on, and would then wait for ever.
                     if (name == "STOP") raw->Kill();
                     if (name != "VSERPORT_CHANGE" || !data.is_object() || !IsTrue(data, "open")) {
                       return;
                     }
                     std::lock_guard lock(raw->mutex_);
                     raw->agent_open_ = true;
                     raw->changed_.notify_all();
                   }));
  vm->thread_ =
      std::thread([raw, spec, qmp = std::move(qmp.second), agent = std::move(agent.second),
                   console = std::move(console.second)]() mutable {
        raw->Run(spec, std::move(qmp), std::move(agent), std::move(console));
      });
  std::unique_lock lock(vm->mutex_);
  vm->changed_.wait(lock, [&] { return vm->spawned_.has_value(); });
  absl::Status spawned = *vm->spawned_;
  lock.unlock();
  RETURN_IF_ERROR(spawned);
  return vm;
}

void Vm::Run(const VmSpec& spec, base::Fd qemu_qmp, base::Fd qemu_agent, base::Fd qemu_console) {
  absl::StatusOr<base::Subprocess> qemu = base::Subprocess::Spawn(ToSubprocess(spec));
  absl::Status status = qemu.status();
  // From here QEMU alone holds its ends: when it dies, ours read the end of the stream.
  qemu_qmp.Reset();
  qemu_agent.Reset();
  qemu_console.Reset();
  if (status.ok()) {
    pid_ = qemu->pid();
    absl::StatusOr<base::Fd> pidfd = base::Duplicate(qemu->pidfd());
    status = pidfd.status();
    if (pidfd.ok()) pidfd_ = *std::move(pidfd);
  }
  {
    std::lock_guard lock(mutex_);
    spawned_ = status;
    changed_.notify_all();
  }
  if (status.ok()) Watch(*qemu);
}

bool Vm::ReadConsole() {
  std::array<char, 4096> buffer;
  const ssize_t count = ::recv(console_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
  if (count < 0) return errno == EINTR || errno == EAGAIN;
  if (count == 0) return false;
  std::lock_guard lock(mutex_);
  console_log_.Append(absl::string_view(buffer.data(), static_cast<size_t>(count)));
  return true;
}

void Vm::Watch(base::Subprocess& qemu) {
  std::array<pollfd, 3> polls = {pollfd{qemu.pidfd(), POLLIN, 0}, pollfd{qmp_->fd(), POLLIN, 0},
                                 pollfd{console_.get(), POLLIN, 0}};
  while (polls[0].revents == 0) {
    if (::poll(polls.data(), polls.size(), -1) < 0) continue;  // EINTR
    // A negative descriptor is passed over by poll.
    if (polls[1].revents != 0 && !qmp_->OnReadable().ok()) polls[1].fd = -1;
    if (polls[2].revents != 0 && !ReadConsole()) polls[2].fd = -1;
  }
  // The last words: all of it is in the socket already.
  while (polls[2].fd >= 0 && ReadConsole()) {
    pollfd more = {console_.get(), POLLIN, 0};
    if (::poll(&more, 1, 0) <= 0) break;
  }
  qmp_->Close();
  absl::StatusOr<base::ProcessEnd> end = qemu.Wait();
  {
    std::lock_guard lock(mutex_);
    end_ = end.ok() ? *end : base::ProcessEnd{.exit_code = 255};
    changed_.notify_all();
  }
  if (on_end_) on_end_();
}

Vm::~Vm() {
  if (pidfd_.valid()) Kill();
  if (thread_.joinable()) thread_.join();
}

absl::Status Vm::WaitForAgent(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, timeout, [&] { return agent_open_ || end_.has_value(); });
  if (end_.has_value()) {
    return absl::UnavailableError(
        absl::StrCat("QEMU ", end_->ToString(), " before the guest was up"));
  }
  if (!agent_open_) {
    return absl::DeadlineExceededError(
        absl::StrCat("the guest was not up after ", timeout.count(), " ms"));
  }
  return absl::OkStatus();
}

std::optional<base::ProcessEnd> Vm::end() {
  std::lock_guard lock(mutex_);
  return end_;
}

bool Vm::WaitForEnd(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return end_.has_value(); });
}

absl::Status Vm::Quit(milliseconds timeout) {
  return qmp_->Execute("quit", nullptr, timeout).status();
}

void Vm::Kill() { ::syscall(SYS_pidfd_send_signal, pidfd_.get(), SIGKILL, nullptr, 0); }

std::string Vm::ConsoleTail() {
  std::lock_guard lock(mutex_);
  return console_log_.Tail();
}

}  // namespace container::runtime_linux
