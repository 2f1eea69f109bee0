#include "apiserver/plugins/helper_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"

namespace container::apiserver {

absl::StatusOr<std::shared_ptr<HelperProcess>> HelperProcess::Launch(
    const std::string& program, std::vector<std::string> arguments, const std::string& socket,
    const std::string& log_file) {
  ASSIGN_OR_RETURN(base::Fd listener, base::ListenUnix(socket));
  ASSIGN_OR_RETURN(base::Fd log, base::Open(log_file, O_WRONLY | O_CREAT | O_APPEND, 0600));
  const std::vector<std::string> ours = {"--socket", socket, "--listen-fd", "3", "--log", log_file};
  arguments.insert(arguments.end(), ours.begin(), ours.end());
  base::SubprocessSpec spec;
  spec.program = program;
  spec.arguments = std::move(arguments);
  spec.fds = {{listener.get(), 3}, {log.get(), 1}, {log.get(), 2}};
  spec.new_session = true;
  spec.working_directory = std::string(1, '/');  // g++ 12 warns of the literal
  auto child = base::Subprocess::Spawn(spec);
  if (!child.ok()) {
    ::unlink(socket.c_str());
    return child.status();
  }
  auto identity = base::IdentifyProcess(child->pid());
  // It may have ended already; the pidfd tells.
  if (!identity.ok()) identity = base::ProcessIdentity{child->pid(), 0};
  ASSIGN_OR_RETURN(base::Fd pidfd, base::Duplicate(child->pidfd()));
  child->Detach();
  return std::shared_ptr<HelperProcess>(new HelperProcess(*identity, std::move(pidfd), socket));
}

absl::StatusOr<std::shared_ptr<HelperProcess>> HelperProcess::Adopt(
    const base::ProcessIdentity& identity, const std::string& socket) {
  ASSIGN_OR_RETURN(base::Fd pidfd, base::OpenProcess(identity));
  return std::shared_ptr<HelperProcess>(new HelperProcess(identity, std::move(pidfd), socket));
}

void HelperProcess::Signal(int signal) const {
  ::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0);
}

bool HelperProcess::WaitForEnd(std::chrono::milliseconds timeout) const {
  if (!base::PollFd(pidfd_.get(), POLLIN, timeout).value_or(false)) return false;
  // Fails for a helper of an earlier apiserver, which init reaps, and when called again.
  siginfo_t ignored;
  ::waitid(P_PIDFD, static_cast<id_t>(pidfd_.get()), &ignored, WEXITED | WNOHANG);
  return true;
}

void HelperProcess::TerminateOrKill(std::chrono::milliseconds grace) const {
  Signal(SIGTERM);
  if (WaitForEnd(grace)) return;
  Signal(SIGKILL);
  WaitForEnd(std::chrono::seconds(5));
}

}  // namespace container::apiserver
