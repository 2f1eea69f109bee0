#include "link/client.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "link/frame.h"

namespace container::link {
namespace {

// Of a peer that does not read: credit bounds what streams may hold, this the rest.
constexpr size_t kMaxQueuedBytes = size_t{64} << 20;

}  // namespace

// All of it is guarded by the connection's mutex.
struct CallState {
  uint32_t stream = 0;
  std::condition_variable changed;
  std::deque<std::string> messages;
  int64_t send_credit = kWindowBytes;
  int64_t receive_credit = kWindowBytes;
  int64_t consumed = 0;  // and not yet given back
  bool closed = false;
  std::optional<absl::Status> end;
  std::string response;
};

class Connection {
 public:
  Connection(base::Fd socket, base::Fd wake) : socket_(std::move(socket)), wake_(std::move(wake)) {}

  void Run();
  void Shutdown() {
    std::lock_guard lock(mutex_);
    Fail(absl::UnavailableError("the connection was closed"));
  }

  std::shared_ptr<CallState> Start(uint16_t method, absl::string_view request);
  bool Read(CallState& call, std::string* message);
  bool Write(CallState& call, absl::string_view message);
  void CloseWrites(CallState& call);
  void Cancel(CallState& call, absl::Status status);
  absl::Status Finish(CallState& call);
  absl::StatusOr<std::string> Await(CallState& call, std::chrono::milliseconds timeout);

  std::thread thread_;

 private:
  // All with mutex_ held.
  absl::Status Handle(const Frame& frame);
  void End(CallState& call, absl::Status status);
  void Fail(absl::Status status);
  void Flush();
  void Queued();

  const base::Fd socket_;
  const base::Fd wake_;  // eventfd: there is more to write, or nothing to do any more

  std::mutex mutex_;
  std::optional<absl::Status> failed_;
  bool broken_ = false;  // nothing can be written any more, but there may be something to read
  std::map<uint32_t, std::shared_ptr<CallState>> calls_;
  uint32_t last_stream_ = 0;
  std::string out_;
  size_t out_offset_ = 0;
};

void Connection::Run() {
  FrameReader reader;
  for (;;) {
    std::array<pollfd, 2> polls = {pollfd{socket_.get(), POLLIN, 0},
                                   pollfd{wake_.get(), POLLIN, 0}};
    {
      std::lock_guard lock(mutex_);
      if (failed_.has_value()) return;
      if (out_offset_ < out_.size() && !broken_) polls[0].events |= POLLOUT;
    }
    if (::poll(polls.data(), polls.size(), -1) < 0) continue;  // EINTR
    if (polls[1].revents != 0) {
      eventfd_t value;
      ::eventfd_read(wake_.get(), &value);
    }
    ssize_t count = -1;
    if ((polls[0].revents & ~POLLOUT) != 0) {
      const std::span<char> space = reader.Space();
      count = ::recv(socket_.get(), space.data(), space.size(), MSG_DONTWAIT);
      if (count > 0) reader.Filled(static_cast<size_t>(count));
    } else {
      errno = EAGAIN;
    }
    const int error_number = errno;
    std::lock_guard lock(mutex_);
    if (failed_.has_value()) return;
    if ((polls[0].revents & POLLOUT) != 0) Flush();
    if (count < 0 && (error_number == EAGAIN || error_number == EINTR)) continue;
    if (count <= 0) return Fail(absl::UnavailableError("the peer has ended the connection"));
    for (;;) {
      Frame frame;
      absl::StatusOr<bool> whole = reader.Next(frame);
      if (whole.ok() && !*whole) break;
      absl::Status status = whole.ok() ? Handle(frame) : whole.status();
      if (!status.ok()) {
        return Fail(
            absl::DataLossError(absl::StrCat("the peer sends nonsense: ", status.message())));
      }
    }
  }
}

absl::Status Connection::Handle(const Frame& frame) {
  if (frame.stream > last_stream_) {
    return absl::DataLossError(absl::StrCat("stream ", frame.stream, " is not open"));
  }
  switch (frame.type) {
    case FrameType::kRequest:
    case FrameType::kClose:
    case FrameType::kCancel:
      return absl::DataLossError("a frame that only a client sends");
    default:
      break;
  }
  auto found = calls_.find(frame.stream);
  if (found == calls_.end()) return absl::OkStatus();  // cancelled, which the peer did not know yet
  CallState& call = *found->second;
  if (frame.type == FrameType::kResponse) {
    absl::Status status = ResponseStatus(frame);
    if (status.ok()) call.response.assign(frame.payload.data(), frame.payload.size());
    End(call, std::move(status));
    return absl::OkStatus();
  }
  if (frame.type == FrameType::kData) {
    // A message of no bytes costs credit of none, and memory all the same.
    if (call.receive_credit <= 0 || frame.payload.empty()) {
      return absl::DataLossError("a message that is empty or without credit");
    }
    call.receive_credit -= static_cast<int64_t>(frame.payload.size());
    call.messages.emplace_back(frame.payload);
  } else {
    ASSIGN_OR_RETURN(const uint32_t bytes, WindowBytes(frame));
    if (bytes > kWindowBytes - call.send_credit) {
      return absl::DataLossError("credit for what was never sent");
    }
    call.send_credit += bytes;
  }
  call.changed.notify_all();
  return absl::OkStatus();
}

void Connection::End(CallState& call, absl::Status status) {
  if (call.end.has_value()) return;
  call.end = std::move(status);
  call.changed.notify_all();
  calls_.erase(call.stream);  // the caller holds the state as well
}

void Connection::Fail(absl::Status status) {
  if (failed_.has_value()) return;
  failed_ = status;
  ::shutdown(socket_.get(), SHUT_RDWR);
  const auto calls = std::move(calls_);
  calls_.clear();
  for (const auto& [stream, call] : calls) End(*call, status);
  std::string().swap(out_);
  out_offset_ = 0;
  ::eventfd_write(wake_.get(), 1);
}

void Connection::Flush() {
  while (!broken_ && out_offset_ < out_.size()) {
    const ssize_t count = ::send(socket_.get(), out_.data() + out_offset_,
                                 out_.size() - out_offset_, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    // What the peer has sent before it went is still to be read, and its end with it.
    if (count < 0) broken_ = true;
    if (count > 0) out_offset_ += static_cast<size_t>(count);
  }
  if (broken_ || out_offset_ == out_.size()) {
    out_offset_ = 0;
    out_.clear();
    if (out_.capacity() > kMaxDataBytes * 2) std::string().swap(out_);
  } else if (out_offset_ > kMaxDataBytes) {
    out_.erase(0, std::exchange(out_offset_, 0));
  }
}

// Sends what was appended to out_.
void Connection::Queued() {
  const bool idle = out_offset_ == 0;
  Flush();
  if (out_.size() - out_offset_ > kMaxQueuedBytes) {
    return Fail(absl::UnavailableError("the peer does not read"));
  }
  if (idle && !out_.empty()) ::eventfd_write(wake_.get(), 1);
}

std::shared_ptr<CallState> Connection::Start(uint16_t method, absl::string_view request) {
  auto call = std::make_shared<CallState>();
  std::lock_guard lock(mutex_);
  if (failed_.has_value()) {
    call->end = *failed_;
  } else if (request.size() > kMaxMessageBytes) {
    call->end = absl::ResourceExhaustedError(
        absl::StrCat("a request of ", request.size(), " bytes is too large"));
  } else if (last_stream_ == UINT32_MAX) {
    call->end = absl::ResourceExhaustedError("the connection is used up");
  } else {
    call->stream = ++last_stream_;
    calls_[call->stream] = call;
    AppendFrame(out_, {FrameType::kRequest, call->stream, method, request});
    Queued();
  }
  return call;
}

bool Connection::Read(CallState& call, std::string* message) {
  std::unique_lock lock(mutex_);
  call.changed.wait(lock, [&] { return !call.messages.empty() || call.end.has_value(); });
  if (call.messages.empty()) return false;
  *message = std::move(call.messages.front());
  call.messages.pop_front();
  call.consumed += static_cast<int64_t>(message->size());
  if (call.consumed >= kWindowBytes / 2 && !call.end.has_value()) {
    AppendWindow(out_, call.stream, static_cast<uint32_t>(call.consumed));
    call.receive_credit += std::exchange(call.consumed, 0);
    Queued();
  }
  return true;
}

bool Connection::Write(CallState& call, absl::string_view message) {
  if (message.empty() || message.size() > kMaxDataBytes) return false;
  std::unique_lock lock(mutex_);
  call.changed.wait(lock, [&] { return call.send_credit > 0 || call.end.has_value(); });
  if (call.end.has_value() || call.closed) return false;
  call.send_credit -= static_cast<int64_t>(message.size());
  AppendFrame(out_, {FrameType::kData, call.stream, 0, message});
  Queued();
  return true;
}

void Connection::CloseWrites(CallState& call) {
  std::lock_guard lock(mutex_);
  if (call.end.has_value() || std::exchange(call.closed, true)) return;
  AppendFrame(out_, {FrameType::kClose, call.stream, 0, {}});
  Queued();
}

void Connection::Cancel(CallState& call, absl::Status status) {
  std::lock_guard lock(mutex_);
  call.messages.clear();
  if (call.end.has_value()) return;
  AppendFrame(out_, {FrameType::kCancel, call.stream, 0, {}});
  Queued();
  End(call, std::move(status));
}

absl::Status Connection::Finish(CallState& call) {
  std::unique_lock lock(mutex_);
  call.changed.wait(lock, [&] { return call.end.has_value(); });
  return *call.end;
}

absl::StatusOr<std::string> Connection::Await(CallState& call, std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!call.changed.wait_for(lock, timeout, [&] { return call.end.has_value(); })) {
    lock.unlock();
    Cancel(call,
           absl::DeadlineExceededError(absl::StrCat("no answer within ", timeout.count(), " ms")));
    lock.lock();
  }
  RETURN_IF_ERROR(*call.end);
  return std::move(call.response);
}

absl::StatusOr<std::string> Call::Await(std::chrono::milliseconds timeout) {
  return connection_->Await(*state_, timeout);
}
bool Call::Read(std::string* message) { return connection_->Read(*state_, message); }
bool Call::Write(absl::string_view message) { return connection_->Write(*state_, message); }
void Call::CloseWrites() { connection_->CloseWrites(*state_); }
void Call::Cancel() {
  connection_->Cancel(*state_, absl::CancelledError("the call was cancelled"));
}
absl::Status Call::Finish() { return connection_->Finish(*state_); }

absl::StatusOr<std::unique_ptr<Client>> Client::Create(base::Fd socket) {
  base::Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return base::ErrnoStatus("eventfd");
  auto connection = std::make_shared<Connection>(std::move(socket), std::move(wake));
  connection->thread_ = std::thread([raw = connection.get()] { raw->Run(); });
  return std::unique_ptr<Client>(new Client(std::move(connection)));
}

Client::~Client() {
  connection_->Shutdown();
  connection_->thread_.join();
}

std::unique_ptr<Call> Client::Start(uint16_t method, absl::string_view request) {
  return std::make_unique<Call>(connection_, connection_->Start(method, request));
}

}  // namespace container::link
