#include "cli/attach.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "cli/output/print.h"
#include "cli/output/terminal.h"
#include "cli/stdio_session.h"

namespace container::cli {
namespace {

using Clock = std::chrono::steady_clock;

/// How long a new apiserver is waited for when the streams have ended and the old one is gone.
constexpr std::chrono::seconds kReconnectTimeout(10);
constexpr std::chrono::milliseconds kReconnectInterval(250);
/// How long the process may take to end when nobody reads its output any more.
constexpr std::chrono::seconds kBrokenOutputGrace(2);
/// So many interrupts within so short a time mean that the user wants out.
constexpr int kImpatientInterrupts = 3;
constexpr std::chrono::seconds kImpatience(3);

int signal_pipe_write = -1;

extern "C" void WriteSignal(int number) {
  const int saved = errno;
  const unsigned char byte = static_cast<unsigned char>(number);
  [[maybe_unused]] ssize_t ignored = ::write(signal_pipe_write, &byte, 1);
  errno = saved;
}

/// Turns signals into bytes of a pipe. What the program's starter has it ignore (nohup) stays
/// ignored.
class SignalPipe {
 public:
  static absl::StatusOr<std::unique_ptr<SignalPipe>> Create() {
    ASSIGN_OR_RETURN(base::FdPair pipe, base::MakePipe(O_NONBLOCK));
    std::unique_ptr<SignalPipe> signals(new SignalPipe(std::move(pipe)));
    return signals;
  }
  ~SignalPipe() {
    for (const auto& [number, former] : former_) ::sigaction(number, &former, nullptr);
    signal_pipe_write = -1;
  }
  int fd() const { return pipe_.first.get(); }
  /// 0 if none is left.
  int Next() {
    unsigned char byte = 0;
    return ::read(pipe_.first.get(), &byte, 1) == 1 ? byte : 0;
  }

 private:
  explicit SignalPipe(base::FdPair pipe) : pipe_(std::move(pipe)) {
    signal_pipe_write = pipe_.second.get();
    for (int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT}) {
      struct sigaction former = {};
      ::sigaction(number, nullptr, &former);
      if (former.sa_handler == SIG_IGN) continue;
      struct sigaction action = {};
      action.sa_handler = &WriteSignal;
      action.sa_flags = SA_RESTART;
      ::sigaction(number, &action, nullptr);
      former_.emplace_back(number, former);
    }
    struct sigaction ignore = {};
    struct sigaction former = {};
    ignore.sa_handler = SIG_IGN;
    ::sigaction(SIGPIPE, &ignore, &former);
    former_.emplace_back(SIGPIPE, former);
  }
  base::FdPair pipe_;
  std::vector<std::pair<int, struct sigaction>> former_;
};

/// What the worker thread tells the main one. Outlives whichever of them ends last.
struct Progression {
  std::mutex mutex;
  bool started = false;
  bool ended = false;  // `status`, `failure` or `exit_code` is valid
  bool lost = false;   // ended, and the exit status can't be known
  absl::Status status;
  std::optional<ExecFailure> failure;
  int exit_code = 0;
  std::shared_ptr<Client> client;  // replaced when the apiserver was
  base::Fd changed;                // eventfd
  base::Fd outputs_ended;          // a duplicate of the session's

  void Notify() const {
    const uint64_t one = 1;
    [[maybe_unused]] ssize_t ignored = ::write(changed.get(), &one, sizeof one);
  }
  std::shared_ptr<Client> CurrentClient() {
    std::lock_guard lock(mutex);
    return client;
  }
};

/// Wait, over the apiserver's death if need be.
absl::StatusOr<int> WaitThroughRestarts(Progression& progression, const base::Paths& paths,
                                        const AttachPlan& plan, bool debug) {
  std::optional<Clock::time_point> deadline;
  for (;;) {
    absl::StatusOr<int> exit_code = progression.CurrentClient()->Wait(plan.id, plan.process_id);
    if (!absl::IsUnavailable(exit_code.status())) return exit_code;
    for (;;) {
      // Until the streams end there is no hurry: the process runs on.
      absl::StatusOr<bool> outputs_ended =
          base::PollFd(progression.outputs_ended.get(), POLLIN,
                       deadline ? std::chrono::milliseconds(0) : kReconnectInterval);
      if (outputs_ended.ok() && *outputs_ended && !deadline) {
        deadline = Clock::now() + kReconnectTimeout;
      }
      absl::StatusOr<std::unique_ptr<Client>> next = Client::Connect(paths, debug);
      if (next.ok()) {
        std::lock_guard lock(progression.mutex);
        progression.client = *std::move(next);
        break;
      }
      if (deadline && Clock::now() >= *deadline) {
        return absl::UnavailableError(
            "container-apiserver ended, and no new one could be asked for the exit status");
      }
      if (deadline) std::this_thread::sleep_for(kReconnectInterval);
    }
    // An apiserver that answers connections but not this call must not be asked in a tight loop.
    if (deadline && Clock::now() >= *deadline) return exit_code.status();
    std::this_thread::sleep_for(kReconnectInterval);
  }
}

void StartAndWait(std::shared_ptr<Progression> progression, base::Paths paths, AttachPlan plan,
                  StdioSockets sockets, TerminalSize size, bool debug) {
  absl::StatusOr<std::optional<ExecFailure>> started =
      plan.start(*progression->CurrentClient(), sockets, size);
  {
    std::lock_guard lock(progression->mutex);
    if (!started.ok()) {
      progression->status = started.status();
      progression->ended = true;
    } else if (started->has_value()) {
      progression->failure = **started;
      progression->ended = true;
    } else {
      progression->started = true;
    }
  }
  progression->Notify();
  if (!started.ok() || started->has_value()) return;
  absl::StatusOr<int> exit_code = WaitThroughRestarts(*progression, paths, plan, debug);
  {
    std::lock_guard lock(progression->mutex);
    if (exit_code.ok()) {
      progression->exit_code = *exit_code;
    } else {
      progression->status = exit_code.status();
      progression->lost = true;
    }
    progression->ended = true;
  }
  progression->Notify();
}

/// The main thread's side.
class Attachment {
 public:
  Attachment(const AttachPlan& plan, std::shared_ptr<Progression> progression,
             StdioSession& session, SignalPipe& signals)
      : plan_(plan), progression_(std::move(progression)), session_(session), signals_(signals) {}

  /// The exit code; this program may end by a signal instead.
  int Run();

 private:
  void OnSignal(int number);
  void OnChange();
  int Conclude();
  void Forward(int number);
  void SendSize();
  [[noreturn]] void EndBy(int number);

  const AttachPlan& plan_;
  std::shared_ptr<Progression> progression_;
  StdioSession& session_;
  SignalPipe& signals_;
  std::unique_ptr<TerminalGuard> raw_;
  std::vector<int> pending_;  // signals that came before the process ran
  std::vector<Clock::time_point> interrupts_;
  bool running_ = false;
  bool ended_ = false;
};

void Attachment::Forward(int number) {
  // A process that has just ended is no news.
  progression_->CurrentClient()->Signal(plan_.id, plan_.process_id, number).IgnoreError();
}

void Attachment::SendSize() {
  TerminalSize size = SizeOf(STDIN_FILENO);
  if (size.rows == 0) size = SizeOf(STDOUT_FILENO);
  if (size.rows == 0) return;
  progression_->CurrentClient()->Resize(plan_.id, plan_.process_id, size).IgnoreError();
}

/// Ends this program by the signal, the terminal restored and the sockets removed. No thread is
/// waited for: one may be stuck in a write that nobody reads.
void Attachment::EndBy(int number) {
  raw_.reset();
  session_.RemoveSockets();
  if (number != SIGQUIT) {  // whose default is a core dump
    ::signal(number, SIG_DFL);
    ::kill(::getpid(), number);
  }
  ::_exit(128 + number);
}

void Attachment::OnSignal(int number) {
  if (number == SIGWINCH || number == SIGCONT) {
    if (number == SIGCONT && raw_ != nullptr) raw_->Reapply().IgnoreError();
    if (plan_.terminal && running_ && !ended_) SendSize();
    return;
  }
  const bool fatal = number != SIGUSR1 && number != SIGUSR2;
  if (fatal && (ended_ || raw_ != nullptr)) EndBy(number);
  if (ended_) return;
  if (!running_) {
    const bool again = !pending_.empty() && (number == SIGINT || number == SIGTERM);
    pending_.push_back(number);
    if (!again) return;
    PrintError("interrupted while starting");
    if (plan_.abandon) plan_.abandon(*progression_->CurrentClient());
    EndBy(number);
  }
  Forward(number);
  if (number != SIGINT && number != SIGTERM) return;
  interrupts_.push_back(Clock::now());
  if (interrupts_.size() < kImpatientInterrupts ||
      interrupts_.back() - interrupts_[interrupts_.size() - kImpatientInterrupts] > kImpatience) {
    return;
  }
  PrintError(absl::StrCat("the process does not heed the signal; ", plan_.id, " runs on"));
  PrintHint(absl::StrCat("Stop it with: container stop ", plan_.id));
  EndBy(number);
}

void Attachment::OnChange() {
  std::unique_lock lock(progression_->mutex);
  if (progression_->started && !running_) {
    running_ = true;
    lock.unlock();
    if (plan_.terminal && plan_.interactive) {
      absl::StatusOr<std::unique_ptr<TerminalGuard>> raw = TerminalGuard::MakeRaw(STDIN_FILENO);
      if (raw.ok()) raw_ = *std::move(raw);
    }
    session_.StartInput();
    for (int number : std::exchange(pending_, {})) Forward(number);
    lock.lock();
  }
  if (progression_->ended && !ended_) {
    ended_ = true;
    session_.FinishOutput();
  }
}

int Attachment::Run() {
  std::optional<Clock::time_point> broken_deadline;
  for (;;) {
    std::array<pollfd, 4> polls = {
        pollfd{signals_.fd(), POLLIN, 0}, pollfd{progression_->changed.get(), POLLIN, 0},
        pollfd{ended_ ? session_.outputs_ended_fd() : -1, POLLIN, 0},
        pollfd{broken_deadline ? -1 : session_.broken_output_fd(), POLLIN, 0}};
    int timeout = -1;
    if (broken_deadline) {
      timeout = static_cast<int>(std::max<int64_t>(
          0,
          std::chrono::ceil<std::chrono::milliseconds>(*broken_deadline - Clock::now()).count()));
    }
    const int ready = ::poll(polls.data(), polls.size(), timeout);
    if (ready < 0 && errno != EINTR) {
      Fail(base::ErrnoStatus("poll"));
      return kOwnFailure;
    }
    if (ready <= 0) {
      if (broken_deadline && Clock::now() >= *broken_deadline) {
        // A first process of a pid namespace is spared SIGPIPE; what nobody sees and nobody would
        // clean up must not go on for ever.
        if (plan_.abandon) plan_.abandon(*progression_->CurrentClient());
        EndBy(SIGPIPE);
      }
      continue;
    }
    if (polls[0].revents != 0) {
      while (const int number = signals_.Next()) OnSignal(number);
    }
    if (polls[1].revents != 0) {
      uint64_t count;
      [[maybe_unused]] ssize_t ignored = ::read(progression_->changed.get(), &count, sizeof count);
      OnChange();
    }
    if (polls[3].revents != 0) {
      // Whoever read this program's output has gone: the process is told as a process of this host
      // would be, and has a moment to end.
      broken_deadline = Clock::now() + kBrokenOutputGrace;
      if (!running_) {
        pending_.push_back(SIGPIPE);
      } else if (!ended_) {
        Forward(SIGPIPE);
      }
    }
    if (ended_ && broken_deadline) EndBy(SIGPIPE);
    if (polls[2].revents != 0) return Conclude();
  }
}

int Attachment::Conclude() {
  raw_.reset();
  std::lock_guard lock(progression_->mutex);
  if (progression_->lost) {
    Fail(absl::StrCat("the exit status of ", plan_.id, " is not known"), progression_->status);
    return kOwnFailure;
  }
  if (!progression_->status.ok()) {
    if (plan_.abandon) plan_.abandon(*progression_->client);
    Fail(progression_->status);
    return kOwnFailure;
  }
  if (progression_->failure.has_value()) {
    PrintError(progression_->failure->message);
    return progression_->failure->exit_code;
  }
  if (const int error = session_.write_error(); error != 0) {
    PrintError(absl::StrCat("standard output: ", std::strerror(error)));
    return kOwnFailure;
  }
  return progression_->exit_code;
}

}  // namespace

absl::Status CheckTerminal(bool interactive, bool terminal) {
  if (!terminal || !interactive || ::isatty(STDIN_FILENO)) return absl::OkStatus();
  return WithHint(absl::FailedPreconditionError("the input device is not a TTY"),
                  "Leave out -t where standard input is not a terminal.");
}

int RunAttached(Invocation& call, const base::Paths& paths, std::shared_ptr<Client> client,
                const AttachPlan& plan) {
  const auto give_up = [&](const absl::Status& status) {
    if (plan.abandon) plan.abandon(*client);
    Fail(status);
    return kOwnFailure;
  };
  LocalStreams local;
  if (plan.interactive) local.in = STDIN_FILENO;
  local.out = STDOUT_FILENO;
  if (!plan.terminal) local.error = STDERR_FILENO;

  absl::StatusOr<std::unique_ptr<SignalPipe>> signals = SignalPipe::Create();
  if (!signals.ok()) return give_up(signals.status());
  absl::StatusOr<std::unique_ptr<StdioSession>> session =
      StdioSession::Create(paths.ClientSockets(), local);
  if (!session.ok()) return give_up(session.status());
  (*session)->StartOutput();

  TerminalSize size;
  if (plan.terminal) {
    size = SizeOf(STDIN_FILENO);
    if (size.rows == 0) size = SizeOf(STDOUT_FILENO);
  }
  auto progression = std::make_shared<Progression>();
  progression->client = client;
  progression->changed.Reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  absl::StatusOr<base::Fd> outputs_ended = base::Duplicate((*session)->outputs_ended_fd());
  if (!outputs_ended.ok() || !progression->changed) {
    return give_up(base::ErrnoStatus("make an event"));
  }
  progression->outputs_ended = *std::move(outputs_ended);
  // Detached: where this program leaves first (a signal), nothing is to be waited for.
  std::thread(&StartAndWait, progression, paths, plan, (*session)->sockets(), size, call.debug)
      .detach();
  return Attachment(plan, progression, **session, **signals).Run();
}

}  // namespace container::cli
