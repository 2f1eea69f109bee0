#include "cli/output/terminal.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>

#include "base/status.h"

namespace container::cli {
namespace {

/// tcsetattr(3) from a background process group would stop the process (SIGTTOU).
int SetMode(int fd, const termios& mode) {
  sigset_t blocked;
  sigset_t former;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTTOU);
  ::pthread_sigmask(SIG_BLOCK, &blocked, &former);
  int result;
  do {
    result = ::tcsetattr(fd, TCSANOW, &mode);
  } while (result != 0 && errno == EINTR);
  ::pthread_sigmask(SIG_SETMASK, &former, nullptr);
  return result;
}

}  // namespace

TerminalSize SizeOf(int fd) {
  winsize size = {};
  if (::ioctl(fd, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_row, size.ws_col};
}

absl::StatusOr<std::unique_ptr<TerminalGuard>> TerminalGuard::MakeRaw(int fd) {
  termios former;
  if (::tcgetattr(fd, &former) != 0) {
    return absl::FailedPreconditionError("the input device is not a TTY");
  }
  std::unique_ptr<TerminalGuard> guard(new TerminalGuard(fd, former));
  RETURN_IF_ERROR(guard->Reapply());
  return guard;
}

absl::Status TerminalGuard::Reapply() {
  termios raw = former_;
  ::cfmakeraw(&raw);
  if (SetMode(fd_, raw) != 0) return base::ErrnoStatus("put the terminal into raw mode");
  return absl::OkStatus();
}

TerminalGuard::~TerminalGuard() { SetMode(fd_, former_); }

}  // namespace container::cli
