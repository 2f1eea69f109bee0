// Child processes: spawned with an exact set of inherited descriptors, watched by pidfd.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::base {

/// How a child ended, as wait(2) tells it.
struct ProcessEnd {
  int exit_code = 0;  // valid if signal is 0
  int signal = 0;     // the signal that ended it, or 0
  /// 0 to 255; 128+n for a signal.
  int ShellStatus() const { return signal != 0 ? 128 + signal : exit_code; }
  std::string ToString() const;
  friend bool operator==(const ProcessEnd&, const ProcessEnd&) = default;
};

/// Everything about a child before it exists, as data.
struct SubprocessSpec {
  std::string program;                                  // a path, or a name looked up in PATH
  std::vector<std::string> arguments;                   // without argv[0]
  std::optional<std::vector<std::string>> environment;  // "K=V"; the parent's if not set

  /// Descriptor `source` of the parent becomes `target` in the child. All others are closed.
  /// 0, 1 and 2 are /dev/null where not named.
  struct InheritedFd {
    int source;
    int target;
  };
  std::vector<InheritedFd> fds;

  /// The child gets SIGKILL when the *thread* that spawned it ends (PR_SET_PDEATHSIG): spawn it
  /// from a thread that lives as long as the process.
  bool dies_with_parent = false;
  /// A session of its own (setsid), so that a terminal's signals don't reach it.
  bool new_session = false;
  std::string working_directory;  // "" : the parent's
};

/// A running child. Move-only. The destructor sends SIGKILL to a child that has not been waited for
/// (and leaves a zombie to nobody: it reaps without blocking where it can); Detach() prevents it.
class Subprocess {
 public:
  /// Returns when the child has executed the program: NOT_FOUND or PERMISSION_DENIED if it
  /// couldn't.
  static absl::StatusOr<Subprocess> Spawn(const SubprocessSpec& spec);

  Subprocess(Subprocess&& other) noexcept;
  Subprocess& operator=(Subprocess&& other) noexcept;
  ~Subprocess();

  pid_t pid() const { return pid_; }
  /// Readable (poll(2)) when the child has ended.
  int pidfd() const { return pidfd_.get(); }

  /// Blocks until the child ends. May be called again.
  absl::StatusOr<ProcessEnd> Wait();
  /// Nothing if the child still runs at the deadline.
  absl::StatusOr<std::optional<ProcessEnd>> WaitFor(std::chrono::milliseconds timeout);
  /// NOT_FOUND if the child has ended and was reaped.
  absl::Status Signal(int signal);
  /// SIGTERM, then SIGKILL after `grace`.
  absl::StatusOr<ProcessEnd> TerminateOrKill(std::chrono::milliseconds grace);
  /// The child lives on after this object. Its end is then nobody's to wait for but init's.
  void Detach();

 private:
  Subprocess(pid_t pid, Fd pidfd) : pid_(pid), pidfd_(std::move(pidfd)) {}
  void KillAndReap();
  pid_t pid_ = -1;
  Fd pidfd_;
  std::optional<ProcessEnd> end_;
};

/// What a short-lived command printed, and how it ended.
struct CommandResult {
  ProcessEnd end;
  std::string standard_output;
  std::string standard_error;
};

/// Runs a command to its end with no input; DEADLINE_EXCEEDED (and SIGKILL) after `timeout`;
/// RESOURCE_EXHAUSTED if it prints more than 16 MiB. spec.fds must be empty.
absl::StatusOr<CommandResult> RunCommand(SubprocessSpec spec, std::chrono::milliseconds timeout);

/// poll(2) of one descriptor for `events` until `timeout` (negative: for ever); false at the
/// deadline.
absl::StatusOr<bool> PollFd(int fd, short events, std::chrono::milliseconds timeout);

}  // namespace container::base
