#include "vminitd/process.h"

#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/status.h"
#include "vminitd/bounds.h"

namespace container::vminitd {
namespace {

int64_t WallClockNanoseconds() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

Process::~Process() {
  CloseInput();
  CloseOutput(stdout_);
  CloseOutput(stderr_);
}

void Process::OnInput(bool ok) {
  if (finished_) return;
  if (!has_request_) {
    if (!ok) return Fail(absl::InvalidArgumentError("the call ended before it started a process"));
    const v1::ProcessInput& input = stream_->input();
    if (!input.has_start()) {
      return Fail(absl::InvalidArgumentError("the first message must start a process"));
    }
    request_ = input.start();
    has_request_ = true;
    if (request_.container_id().empty() || request_.process_id().empty() || !request_.has_spec()) {
      return Fail(absl::InvalidArgumentError("a container, a process id and a spec are required"));
    }
    if (absl::Status valid = ValidateProcessSpec(request_.spec()); !valid.ok()) {
      return Fail(std::move(valid));
    }
    return host_.start(*this);
  }
  if (!ok) {
    // No more messages come: no more input either.
    end_input_ = true;
    return EndInput();
  }
  const v1::ProcessInput& input = stream_->input();
  if (input.has_start()) {
    return Abort(absl::InvalidArgumentError("the process is started already"));
  }
  if (input.close_stdin()) end_input_ = true;
  input_pending_ = input.has_stdin() && stdin_.valid() && request_.spec().stdin();
  input_offset_ = 0;
  WriteInput();
}

// Writes what is at hand, then asks for more.
void Process::WriteInput() {
  if (finished_) return;
  while (input_pending_) {
    const std::string& data = stream_->input().stdin();
    if (!stdin_ || input_offset_ >= data.size()) break;
    const ssize_t count =
        ::write(stdin_.get(), data.data() + input_offset_, data.size() - input_offset_);
    if (count >= 0) {
      input_offset_ += static_cast<size_t>(count);
    } else if (errno == EAGAIN) {
      host_.loop->Arm(stdin_.get(), EPOLLOUT);
      return;
    } else if (errno != EINTR) {
      // The process closed its input (EPIPE, or EIO of a terminal): nobody is interested.
      CloseInput();
    }
  }
  input_pending_ = false;
  if (end_input_) EndInput();
  stream_->Read();
}

void Process::EndInput() {
  if (input_pending_ || !stdin_) return;
  if (!request_.spec().terminal()) return CloseInput();
  if (!request_.spec().stdin()) return;
  termios settings{};
  cc_t end_of_file = 4;  // Ctrl-D
  if (::tcgetattr(stdin_.get(), &settings) == 0) end_of_file = settings.c_cc[VEOF];
  // A terminal whose input queue is full has a reader that will find its end there anyway.
  [[maybe_unused]] ssize_t written = ::write(stdin_.get(), &end_of_file, 1);
  end_input_ = false;
}

void Process::CloseInput() {
  if (!stdin_) return;
  host_.loop->Unwatch(stdin_.get());
  stdin_.Reset();
}

void Process::OnCancel() { Abort(absl::CancelledError("the call was cancelled")); }

void Process::Abort(absl::Status status) {
  if (finished_) return;
  if (!aborted_) abort_status_ = std::move(status);
  aborted_ = true;
  Kill(SIGKILL);
  // Nobody hears the output any more.
  CloseInput();
  CloseOutput(stdout_);
  CloseOutput(stderr_);
  FinishIfEnded();
}

void Process::OnStarted(StartedProcess started) {
  pid_ = started.pid;
  if (pid_ > 0) host_.spawned(*this);
  if (aborted_) {
    Kill(SIGKILL);
    if (pid_ <= 0) Fail(abort_status_);
    return FinishIfEnded();
  }
  if (!started.status.ok()) return Fail(std::move(started.status));
  if (started.exec_failure.exit_code() != 0) {
    finished_ = true;
    *stream_->output().mutable_exec_failed() = std::move(started.exec_failure);
    stream_->WriteLast();
    return;
  }
  stdin_ = std::move(started.standard_input);
  stdout_.fd = std::move(started.standard_output);
  stderr_.fd = std::move(started.standard_error);
  if (stdin_) {
    (void)host_.loop->Watch(stdin_.get(), 0, [this] {
      // Told of a hang-up with nothing to write, the next write will find out.
      if (input_pending_) WriteInput();
    });
  }
  WatchOutput(stdout_);
  WatchOutput(stderr_);
  started_ = true;
  stream_->output().mutable_started()->set_pid(pid_);
  writing_ = true;
  stream_->Write();
  stream_->Read();
}

void Process::OnWritten(bool ok) {
  writing_ = false;
  if (!ok) return OnCancel();
  PumpOutput();
}

void Process::WatchOutput(Output& output) {
  if (!output.fd) return;
  (void)host_.loop->Watch(output.fd.get(), EPOLLIN, [this, &output] {
    output.ready = true;
    PumpOutput();
  });
}

void Process::CloseOutput(Output& output) {
  if (!output.fd) return;
  host_.loop->Unwatch(output.fd.get());
  output.fd.Reset();
}

void Process::PumpOutput() {
  if (finished_ || writing_) return;
  if (PumpOutputFrom(stdout_, false) || PumpOutputFrom(stderr_, true)) return;
  FinishIfEnded();
}

// Sends one message; false if there was nothing to send.
bool Process::PumpOutputFrom(Output& output, bool is_stderr) {
  if (!output.fd || !output.ready) return false;
  // The loop's thread alone reads.
  static char buffer[kMaxChunkBytes];
  ssize_t count;
  do {
    count = ::read(output.fd.get(), buffer, sizeof buffer);
  } while (count < 0 && errno == EINTR);
  if (count > 0) {
    v1::ProcessOutput& message = stream_->output();
    std::string& data = is_stderr ? *message.mutable_stderr() : *message.mutable_stdout();
    data.assign(buffer, static_cast<size_t>(count));
    writing_ = true;
    stream_->Write();
    return true;
  }
  if (count < 0 && errno == EAGAIN) {
    output.ready = false;
    // A further process that has ended may have left children that hold its output: they are not
    // waited for. The first process's children are dead when it is reaped, and the end of their
    // output follows.
    if (exited_ && !is_first()) {
      CloseOutput(output);
    } else {
      host_.loop->Arm(output.fd.get(), EPOLLIN);
    }
    return false;
  }
  // The end, or EIO of a terminal that nobody holds any more.
  CloseOutput(output);
  return false;
}

void Process::OnExit(int wait_status) {
  exited_ = true;
  finished_ns_ = WallClockNanoseconds();
  exit_code_ = WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
  if (finished_) return;
  CloseInput();
  stdout_.ready = stderr_.ready = true;
  if (started_ && !aborted_) return PumpOutput();
  FinishIfEnded();
}

void Process::FinishIfEnded() {
  if (finished_) return;
  if (aborted_) {
    // A start that is under way is awaited: it ends in OnStarted.
    if (exited_ && !writing_) Fail(abort_status_);
    return;
  }
  if (!exited_ || writing_ || stdout_.fd || stderr_.fd) return;
  finished_ = true;
  v1::Exited& exited = *stream_->output().mutable_exited();
  exited.set_exit_code(exit_code_);
  exited.set_finished_ns(finished_ns_);
  stream_->WriteLast();
}

void Process::Fail(absl::Status status) {
  if (finished_) return;
  finished_ = true;
  stream_->Finish(std::move(status));
}

absl::Status Process::Resize(const v1::TerminalSize& size) {
  if (!request_.spec().terminal() || !stdout_.fd) {
    return absl::FailedPreconditionError("the process has no terminal");
  }
  if (size.rows() > 65535 || size.columns() > 65535) {
    return absl::InvalidArgumentError("the terminal is too large");
  }
  winsize window{};
  window.ws_row = static_cast<unsigned short>(size.rows());
  window.ws_col = static_cast<unsigned short>(size.columns());
  if (::ioctl(stdout_.fd.get(), TIOCSWINSZ, &window) != 0) {
    return base::ErrnoStatus("set the terminal's size");
  }
  return absl::OkStatus();
}

void Process::Kill(int signal) {
  if (alive()) ::kill(pid_, signal);
}

}  // namespace container::vminitd
