#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2)  // linux/close_range.h
#endif

namespace container::base {
namespace {

using Clock = std::chrono::steady_clock;

std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

/// What the child does between fork and exec: nothing that allocates.
struct ChildPlan {
  const SubprocessSpec* spec;
  std::vector<SubprocessSpec::InheritedFd> fds;
  char* const* argv;
  char* const* envp;
  int error_fd;
  pid_t parent;
};

[[noreturn]] void FailChild(int error_fd) {
  const int error = errno;
  [[maybe_unused]] ssize_t ignored = ::write(error_fd, &error, sizeof error);
  ::_exit(127);
}

[[noreturn]] void RunChild(ChildPlan& plan) {
  sigset_t none;
  sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  for (int number : {SIGPIPE, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGCHLD}) ::signal(number, SIG_DFL);
  if (plan.spec->new_session) ::setsid();
  if (plan.spec->dies_with_parent) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) FailChild(plan.error_fd);
    if (::getppid() != plan.parent) ::_exit(127);  // It was too late: the parent is gone already.
  }
  if (!plan.spec->working_directory.empty() && ::chdir(plan.spec->working_directory.c_str()) != 0) {
    FailChild(plan.error_fd);
  }
  // Lift every source above all targets first, so that none is overwritten before it is used.
  int floor = 3;
  for (const auto& fd : plan.fds) floor = std::max(floor, fd.target + 1);
  int error_fd = ::fcntl(plan.error_fd, F_DUPFD_CLOEXEC, floor);
  if (error_fd < 0) FailChild(plan.error_fd);
  for (auto& fd : plan.fds) {
    fd.source = ::fcntl(fd.source, F_DUPFD_CLOEXEC, floor);
    if (fd.source < 0) FailChild(error_fd);
  }
  bool standard[3] = {false, false, false};
  for (const auto& fd : plan.fds) {
    if (::dup2(fd.source, fd.target) < 0) FailChild(error_fd);
    if (fd.target < 3) standard[fd.target] = true;
  }
  for (int target = 0; target < 3; ++target) {
    if (standard[target]) continue;
    int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0) FailChild(error_fd);
    if (null == target) {
      ::fcntl(null, F_SETFD, 0);
    } else {
      ::dup2(null, target);
    }
  }
  // All that is not named is closed by exec, whoever opened it without O_CLOEXEC.
  for (int target = 3; target < floor; ++target) {
    bool named = false;
    for (const auto& fd : plan.fds) named |= fd.target == target;
    if (!named && target != error_fd) ::fcntl(target, F_SETFD, FD_CLOEXEC);
  }
  ::syscall(SYS_close_range, floor, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execvpe(plan.spec->program.c_str(), plan.argv, plan.envp);
  FailChild(error_fd);
}

}  // namespace

std::string ProcessEnd::ToString() const {
  if (signal != 0)
    return absl::StrCat("killed by signal ", signal, " (", sigabbrev_np(signal), ")");
  return absl::StrCat("exited with status ", exit_code);
}

absl::StatusOr<Subprocess> Subprocess::Spawn(const SubprocessSpec& spec) {
  std::vector<std::string> arguments = {spec.program};
  arguments.insert(arguments.end(), spec.arguments.begin(), spec.arguments.end());
  std::vector<char*> argv = Pointers(arguments);
  std::vector<char*> envp;
  if (spec.environment.has_value()) envp = Pointers(*spec.environment);
  ASSIGN_OR_RETURN(FdPair error_pipe, MakePipe());

  ChildPlan plan{&spec,
                 spec.fds,
                 argv.data(),
                 spec.environment ? envp.data() : environ,
                 error_pipe.second.get(),
                 ::getpid()};
  // Signals stay blocked from before the fork until the child has reset its handlers.
  sigset_t all;
  sigset_t old;
  sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &old);
  const pid_t pid = ::fork();
  if (pid == 0) RunChild(plan);
  const int fork_error = errno;
  ::pthread_sigmask(SIG_SETMASK, &old, nullptr);
  if (pid < 0) return ErrnoStatus(fork_error, "fork");

  error_pipe.second.Reset();
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!pidfd) {
    absl::Status status = ErrnoStatus("pidfd_open");
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    return status;
  }
  int child_error = 0;
  ASSIGN_OR_RETURN(size_t count,
                   ReadSome(error_pipe.first.get(),
                            std::span(reinterpret_cast<char*>(&child_error), sizeof child_error)));
  if (count == sizeof child_error) {
    ::waitpid(pid, nullptr, 0);
    return ErrnoStatus(child_error, absl::StrCat("execute ", spec.program));
  }
  return Subprocess(pid, std::move(pidfd));
}

Subprocess::Subprocess(Subprocess&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), pidfd_(std::move(other.pidfd_)), end_(other.end_) {}

Subprocess& Subprocess::operator=(Subprocess&& other) noexcept {
  if (this != &other) {
    KillAndReap();
    pid_ = std::exchange(other.pid_, -1);
    pidfd_ = std::move(other.pidfd_);
    end_ = other.end_;
  }
  return *this;
}

Subprocess::~Subprocess() { KillAndReap(); }

void Subprocess::KillAndReap() {
  if (pid_ <= 0 || end_.has_value()) return;
  ::kill(pid_, SIGKILL);
  // A killed child ends at once unless it is stuck in the kernel; don't be stuck with it.
  if (auto ready = PollFd(pidfd_.get(), POLLIN, std::chrono::milliseconds(1000));
      ready.ok() && *ready) {
    ::waitpid(pid_, nullptr, WNOHANG);
  }
  pid_ = -1;
}

void Subprocess::Detach() { pid_ = -1; }

absl::StatusOr<ProcessEnd> Subprocess::Wait() {
  if (end_.has_value()) return *end_;
  if (pid_ <= 0) return absl::FailedPreconditionError("no child to wait for");
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0) {
    if (errno != EINTR) return ErrnoStatus("waitpid");
  }
  ProcessEnd end;
  if (WIFSIGNALED(status)) {
    end.signal = WTERMSIG(status);
  } else {
    end.exit_code = WEXITSTATUS(status);
  }
  end_ = end;
  return end;
}

absl::StatusOr<std::optional<ProcessEnd>> Subprocess::WaitFor(std::chrono::milliseconds timeout) {
  if (!end_.has_value()) {
    ASSIGN_OR_RETURN(bool ended, PollFd(pidfd_.get(), POLLIN, timeout));
    if (!ended) return std::nullopt;
  }
  ASSIGN_OR_RETURN(ProcessEnd end, Wait());
  return end;
}

absl::Status Subprocess::Signal(int signal) {
  if (end_.has_value() || pid_ <= 0) return absl::NotFoundError("the process has ended");
  if (::syscall(SYS_pidfd_send_signal, pidfd_.get(), signal, nullptr, 0) != 0) {
    return ErrnoStatus("pidfd_send_signal");
  }
  return absl::OkStatus();
}

absl::StatusOr<ProcessEnd> Subprocess::TerminateOrKill(std::chrono::milliseconds grace) {
  Signal(SIGTERM).IgnoreError();
  ASSIGN_OR_RETURN(std::optional<ProcessEnd> end, WaitFor(grace));
  if (end.has_value()) return *end;
  Signal(SIGKILL).IgnoreError();
  return Wait();
}

absl::StatusOr<CommandResult> RunCommand(SubprocessSpec spec, std::chrono::milliseconds timeout) {
  constexpr size_t kLimitBytes = 16 << 20;
  const auto deadline = Clock::now() + timeout;
  ASSIGN_OR_RETURN(FdPair output, MakePipe());
  ASSIGN_OR_RETURN(FdPair error, MakePipe());
  spec.fds = {{output.second.get(), 1}, {error.second.get(), 2}};
  ASSIGN_OR_RETURN(Subprocess child, Subprocess::Spawn(spec));
  output.second.Reset();
  error.second.Reset();

  CommandResult result;
  std::array<Fd*, 2> sources = {&output.first, &error.first};
  std::array<std::string*, 2> sinks = {&result.standard_output, &result.standard_error};
  std::array<char, 16384> buffer;
  while (output.first.valid() || error.first.valid()) {
    std::array<pollfd, 2> polls = {pollfd{output.first.get(), POLLIN, 0},
                                   pollfd{error.first.get(), POLLIN, 0}};
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) {
      return absl::DeadlineExceededError(absl::StrCat(spec.program, " took too long"));
    }
    if (::poll(polls.data(), polls.size(), static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return ErrnoStatus("poll");
    }
    for (size_t i = 0; i < polls.size(); ++i) {
      if (polls[i].revents == 0) continue;
      ASSIGN_OR_RETURN(size_t count, ReadSome(sources[i]->get(), buffer));
      if (count == 0) sources[i]->Reset();
      sinks[i]->append(buffer.data(), count);
      if (sinks[i]->size() > kLimitBytes) {
        return absl::ResourceExhaustedError(absl::StrCat(spec.program, " prints too much"));
      }
    }
  }
  auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now());
  ASSIGN_OR_RETURN(std::optional<ProcessEnd> end,
                   child.WaitFor(std::max(left, std::chrono::milliseconds(0))));
  if (!end.has_value()) {
    return absl::DeadlineExceededError(absl::StrCat(spec.program, " took too long"));
  }
  result.end = *end;
  return result;
}

absl::StatusOr<bool> PollFd(int fd, short events, std::chrono::milliseconds timeout) {
  const bool forever = timeout.count() < 0;
  const auto deadline = Clock::now() + timeout;
  for (;;) {
    int left = -1;
    if (!forever) {
      left = static_cast<int>(std::max<int64_t>(
          0, std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count()));
    }
    pollfd poll_fd{fd, events, 0};
    int count = ::poll(&poll_fd, 1, left);
    if (count > 0) return true;
    if (count == 0) return false;
    if (errno != EINTR) return ErrnoStatus("poll");
  }
}

}  // namespace container::base
