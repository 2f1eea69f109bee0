#include "plugins/runtime_linux/container_process.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "base/units.h"
#include "base/unix_socket.h"

namespace container::runtime_linux {
namespace {

constexpr size_t kMaxInputBytes = 64 << 10;

absl::Status ConnectStream(const std::string& path, base::Fd& fd) {
  if (path.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(fd, base::ConnectUnix(path), "connect to the client");
  return absl::OkStatus();
}

/// Writes all of `data`; false if the peer has gone or was given up (`abandon` is readable).
bool SendAll(int fd, int abandon, absl::string_view data) {
  while (!data.empty()) {
    const ssize_t count = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) {
      data.remove_prefix(static_cast<size_t>(count));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN) return false;
    std::array<pollfd, 2> polls = {pollfd{fd, POLLOUT, 0}, pollfd{abandon, POLLIN, 0}};
    if (::poll(polls.data(), polls.size(), -1) > 0 && polls[0].revents == 0) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<std::shared_ptr<ContainerProcess>> ContainerProcess::Create(Options options) {
  base::Fd abandon(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!abandon) return base::ErrnoStatus("eventfd");
  std::shared_ptr<ContainerProcess> process(
      new ContainerProcess(std::move(options), std::move(abandon)));
  const common::v1::Stdio& stdio = process->options_.stdio;
  if (process->terminal() && !stdio.stderr_socket().empty()) {
    return absl::InvalidArgumentError("a process with a terminal has no standard error of its own");
  }
  RETURN_IF_ERROR(ConnectStream(stdio.stdin_socket(), process->stdin_));
  RETURN_IF_ERROR(ConnectStream(stdio.stdout_socket(), process->stdout_));
  RETURN_IF_ERROR(ConnectStream(stdio.stderr_socket(), process->stderr_));
  return process;
}

ContainerProcess::~ContainerProcess() {
  if (stream_ != nullptr) stream_->Cancel();
  AbandonSlowClients();
  if (output_thread_.joinable()) output_thread_.join();
}

absl::StatusOr<std::optional<common::v1::ExecFailure>> ContainerProcess::Start(Agent& agent) {
  auto result = Begin(agent);
  if (!result.ok() || result->has_value()) {
    // It never ran: nobody is to wait for its end.
    std::lock_guard lock(mutex_);
    exit_ = absl::FailedPreconditionError("the process was not started");
    ended_ = true;
    changed_.notify_all();
  }
  return result;
}

absl::StatusOr<std::optional<common::v1::ExecFailure>> ContainerProcess::Begin(Agent& agent) {
  stream_ = agent.RunProcess(options_.start);
  guest::ProcessOutput output;
  if (!stream_->Read(&output)) {
    absl::Status status = stream_->Finish();
    stream_.reset();
    if (status.ok()) status = absl::InternalError("the guest ended the call without an answer");
    return status;
  }
  if (output.has_exec_failed()) {
    while (stream_->Read(&output)) {
    }
    stream_->Finish().IgnoreError();
    stream_.reset();
    common::v1::ExecFailure failure;
    failure.set_exit_code(output.exec_failed().exit_code());
    failure.set_message(output.exec_failed().message());
    return failure;
  }
  if (!output.has_started()) {
    stream_->Cancel();
    stream_->Finish().IgnoreError();
    stream_.reset();
    return absl::InternalError("the guest's first answer is not the start of the process");
  }
  if (stdin_.valid()) input_thread_ = std::thread([this] { CarryInput(); });
  output_thread_ = std::thread([this] { CarryOutput(); });
  return std::nullopt;
}

void ContainerProcess::Deliver(absl::string_view stream, base::Fd& client, absl::string_view data) {
  if (options_.log != nullptr) {
    // A full disk costs the log, not the container.
    absl::Status logged = options_.log->Append(stream, data);
    if (!logged.ok() && !std::exchange(log_failed_, true)) {
      spdlog::error("container={} can't write the log error=\"{}\"", options_.start.container_id(),
                    std::string(logged.message()));
    }
  }
  if (client.valid() && !SendAll(client.get(), abandon_.get(), data)) client.Reset();
}

void ContainerProcess::CarryOutput() {
  absl::StatusOr<common::v1::ExitStatus> exit = absl::UnknownError("");
  guest::ProcessOutput output;
  bool exited = false;
  while (!exited && stream_->Read(&output)) {
    switch (output.output_case()) {
      case guest::ProcessOutput::kStdout:
        Deliver("stdout", stdout_, output.stdout());
        break;
      case guest::ProcessOutput::kStderr:
        Deliver("stderr", stderr_, output.stderr());
        break;
      case guest::ProcessOutput::kExited: {
        common::v1::ExitStatus status;
        status.set_exit_code(output.exited().exit_code() & 0xff);
        // By the host's clock: the guest's is only as good as its timers.
        status.set_finished_ns(base::NanosecondsOf(std::chrono::system_clock::now()));
        exit = std::move(status);
        exited = true;
        break;
      }
      default:
        break;
    }
  }
  // The client reads the end of its streams before it is told of the process's end.
  stdout_.Reset();
  stderr_.Reset();
  if (exited) {
    std::lock_guard lock(mutex_);
    exit_ = exit;
    ended_ = true;
    changed_.notify_all();
  }
  if (exited && options_.on_end) options_.on_end();

  // Nothing of value is left in the call; the writing thread is to come back from it.
  stream_->Cancel();
  if (stdin_.valid()) ::shutdown(stdin_.get(), SHUT_RDWR);
  if (input_thread_.joinable()) input_thread_.join();
  stdin_.Reset();
  absl::Status status = stream_->Finish();
  if (exited) return;
  if (status.ok()) status = absl::InternalError("the guest did not tell the process's end");
  {
    std::lock_guard lock(mutex_);
    exit_ = std::move(status);
    ended_ = true;
    changed_.notify_all();
  }
  if (options_.on_end) options_.on_end();
}

void ContainerProcess::CarryInput() {
  std::string buffer(kMaxInputBytes, '\0');
  guest::ProcessInput input;
  for (;;) {
    const ssize_t count = ::recv(stdin_.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    input.set_stdin(buffer.data(), static_cast<size_t>(count));
    if (!stream_->Write(input)) return;
  }
  input.set_close_stdin(true);
  stream_->Write(input);
}

bool ContainerProcess::ended() {
  std::lock_guard lock(mutex_);
  return ended_;
}

bool ContainerProcess::WaitForEnd(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, timeout, [&] { return ended_; });
}

absl::StatusOr<common::v1::ExitStatus> ContainerProcess::exit() {
  std::lock_guard lock(mutex_);
  return exit_;
}

void ContainerProcess::AbandonSlowClients() {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t ignored = ::write(abandon_.get(), &one, sizeof one);
}

}  // namespace container::runtime_linux
