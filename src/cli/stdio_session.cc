#include "cli/stdio_session.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "base/uuid.h"

namespace container::cli {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
/// How long a stream without data is waited for once the process has ended: its output is in the
/// socket by then, so this bounds only a stream that a background process holds open.
constexpr int kIdleAfterEndMs = 200;
constexpr int kSigpipeHeadStartMs = 300;

void Raise(const base::Fd& event) {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t ignored = ::write(event.get(), &one, sizeof one);
}

bool IsRaised(const base::Fd& event) {
  pollfd poll_fd{event.get(), POLLIN, 0};
  return ::poll(&poll_fd, 1, 0) > 0;
}

/// Writes all of it to a socket or other descriptor, blocking or not; 0, an errno, or -1 if `stop`
/// was raised before all was written.
int WriteWhole(int fd, const char* data, size_t size, const base::Fd& stop) {
  while (size > 0) {
    // Waiting first keeps a full pipe from blocking past `stop`; a blocking descriptor may still
    // block for the rest of a large write.
    std::array<pollfd, 2> polls = {pollfd{fd, POLLOUT, 0}, pollfd{stop.get(), POLLIN, 0}};
    if (::poll(polls.data(), polls.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    if (polls[1].revents != 0) return -1;
    const ssize_t count = ::write(fd, data, size);
    if (count >= 0) {
      data += count;
      size -= static_cast<size_t>(count);
    } else if (errno != EINTR && errno != EAGAIN) {
      return errno;
    }
  }
  return 0;
}

absl::StatusOr<base::Fd> MakeEvent() {
  base::Fd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!event) return base::ErrnoStatus("eventfd");
  return event;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StdioSession>> StdioSession::Create(const std::string& folder,
                                                                   LocalStreams local) {
  std::unique_ptr<StdioSession> session(new StdioSession());
  session->local_ = local;
  ASSIGN_OR_RETURN(session->stop_input_, MakeEvent());
  ASSIGN_OR_RETURN(session->finish_output_, MakeEvent());
  ASSIGN_OR_RETURN(session->stop_output_, MakeEvent());
  ASSIGN_OR_RETURN(session->outputs_ended_, MakeEvent());
  ASSIGN_OR_RETURN(session->broken_output_, MakeEvent());

  RETURN_IF_ERROR(base::MakePrivateDirectory(folder), "sockets for the standard streams");
  // As short as a random name may be: a socket's path has 107 bytes.
  const std::string own = absl::StrCat(folder, "/", base::RandomHex(6));
  RETURN_IF_ERROR(base::MakePrivateDirectory(own), "sockets for the standard streams");
  session->folder_ = own;
  if (local.in >= 0) {
    RETURN_IF_ERROR(session->Listen("in", session->in_listener_, session->sockets_.in));
  }
  if (local.out >= 0) {
    RETURN_IF_ERROR(session->Listen("out", session->out_listener_, session->sockets_.out));
  }
  if (local.error >= 0) {
    RETURN_IF_ERROR(session->Listen("err", session->error_listener_, session->sockets_.error));
  }
  return session;
}

absl::Status StdioSession::Listen(const char* name, base::Fd& listener, std::string& path) {
  path = absl::StrCat(folder_, "/", name);
  ASSIGN_OR_RETURN(listener, base::ListenUnix(path, 1), "sockets for the standard streams");
  return base::SetNonBlocking(listener.get(), true);
}

StdioSession::~StdioSession() {
  Raise(stop_input_);
  Raise(stop_output_);
  if (in_thread_.joinable()) in_thread_.join();
  for (std::thread& thread : out_threads_) thread.join();
  RemoveSockets();
}

void StdioSession::RemoveSockets() {
  if (!folder_.empty()) base::RemoveTree(folder_).IgnoreError();
}

void StdioSession::StartOutput() {
  open_outputs_ = (out_listener_ ? 1 : 0) + (error_listener_ ? 1 : 0);
  if (open_outputs_ == 0) Raise(outputs_ended_);
  // Each pump owns its listener and closes it when the helper has connected.
  if (out_listener_) {
    out_threads_.emplace_back(
        [this, listener = std::make_shared<base::Fd>(std::move(out_listener_))] {
          PumpOutput(std::move(*listener), sockets_.out, local_.out);
        });
  }
  if (error_listener_) {
    out_threads_.emplace_back(
        [this, listener = std::make_shared<base::Fd>(std::move(error_listener_))] {
          PumpOutput(std::move(*listener), sockets_.error, local_.error);
        });
  }
}

void StdioSession::StartInput() {
  if (in_listener_) in_thread_ = std::thread([this] { PumpInput(); });
}

void StdioSession::FinishOutput() { Raise(finish_output_); }

base::Fd StdioSession::Accept(const base::Fd& listener, const std::string& path,
                              const base::Fd& stop) {
  for (;;) {
    std::array<pollfd, 2> polls = {pollfd{listener.get(), POLLIN, 0},
                                   pollfd{stop.get(), POLLIN, 0}};
    if (::poll(polls.data(), polls.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return {};
    }
    if (polls[0].revents == 0) return {};
    base::Fd connection(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!connection) {
      if (errno == EINTR || errno == ECONNABORTED || errno == EAGAIN) continue;
      return {};
    }
    if (!base::CheckPeer(connection.get()).ok()) continue;
    base::RemoveFile(path).IgnoreError();
    return connection;
  }
}

void StdioSession::PumpInput() {
  base::Fd connection = Accept(in_listener_, sockets_.in, stop_input_);
  in_listener_.Reset();
  if (!connection) return;
  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    // The socket is asked for nothing but its end: the process has closed its standard input.
    std::array<pollfd, 3> polls = {pollfd{local_.in, POLLIN, 0}, pollfd{connection.get(), 0, 0},
                                   pollfd{stop_input_.get(), POLLIN, 0}};
    if (::poll(polls.data(), polls.size(), -1) < 0) {
      if (errno == EINTR) continue;
      return;
    }
    if (polls[1].revents != 0 || polls[2].revents != 0) return;
    if (polls[0].revents == 0) continue;
    const ssize_t count = ::read(local_.in, buffer.data(), buffer.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    // An input that can't be read (a terminal that hung up, a folder) has ended.
    if (count <= 0) break;
    if (WriteWhole(connection.get(), buffer.data(), static_cast<size_t>(count), stop_input_) != 0) {
      return;
    }
  }
  ::shutdown(connection.get(), SHUT_WR);
  // The connection stays open until the end: a helper may take its end for the client's death.
  std::array<pollfd, 2> polls = {pollfd{connection.get(), 0, 0},
                                 pollfd{stop_input_.get(), POLLIN, 0}};
  while (::poll(polls.data(), polls.size(), -1) < 0 && errno == EINTR) {
  }
}

void StdioSession::PumpOutput(base::Fd listener, std::string path, int target) {
  const auto ended = [this] {
    if (--open_outputs_ == 0) Raise(outputs_ended_);
  };
  base::Fd connection;
  {
    // Wakes for either event: a process that has ended without its helper having connected wrote
    // nothing.
    std::array<pollfd, 3> polls = {pollfd{listener.get(), POLLIN, 0},
                                   pollfd{finish_output_.get(), POLLIN, 0},
                                   pollfd{stop_output_.get(), POLLIN, 0}};
    while (::poll(polls.data(), polls.size(), -1) < 0 && errno == EINTR) {
    }
    if (polls[2].revents == 0) {
      connection = Accept(listener, path, finish_output_);
    }
  }
  listener.Reset();
  if (!connection) return ended();

  std::vector<char> buffer(kBufferBytes);
  for (;;) {
    const bool finishing = IsRaised(finish_output_);
    std::array<pollfd, 3> polls = {pollfd{connection.get(), POLLIN, 0},
                                   pollfd{stop_output_.get(), POLLIN, 0},
                                   pollfd{finishing ? -1 : finish_output_.get(), POLLIN, 0}};
    const int ready = ::poll(polls.data(), polls.size(), finishing ? kIdleAfterEndMs : -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0 || polls[1].revents != 0) break;
    if (polls[0].revents == 0) continue;
    const ssize_t count = ::read(connection.get(), buffer.data(), buffer.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    const int error = WriteWhole(target, buffer.data(), static_cast<size_t>(count), stop_output_);
    if (error == 0) continue;
    if (error == EPIPE) {
      Raise(broken_output_);
      // SIGPIPE goes to the process first: as on one host, it should end before it sees an error.
      pollfd stop{stop_output_.get(), POLLIN, 0};
      ::poll(&stop, 1, kSigpipeHeadStartMs);
    } else if (error > 0) {
      int none = 0;
      write_error_.compare_exchange_strong(none, error);
    }
    break;
  }
  ended();
}

}  // namespace container::cli
