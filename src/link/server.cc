#include "link/server.h"

#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::link {

absl::Status Server::OnReadable() {
  for (;;) {
    const std::span<char> space = reader_.Space();
    const ssize_t count = ::read(fd_, space.data(), space.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return absl::OkStatus();
    if (count < 0) return base::ErrnoStatus("read");
    if (count == 0) return absl::UnavailableError("the connection has ended");
    connected_ = true;
    reader_.Filled(static_cast<size_t>(count));
    for (;;) {
      Frame frame;
      ASSIGN_OR_RETURN(const bool whole, reader_.Next(frame));
      if (!whole) break;
      RETURN_IF_ERROR(Handle(frame));
    }
  }
}

Server::Stream* Server::Find(uint32_t stream) {
  auto found = streams_.find(stream);
  return found == streams_.end() ? nullptr : &found->second;
}

absl::Status Server::Handle(const Frame& frame) {
  if (frame.type == FrameType::kRequest) {
    if (frame.stream <= last_stream_) {
      return absl::DataLossError(absl::StrCat("stream ", frame.stream, " was used before"));
    }
    last_stream_ = frame.stream;
    streams_[frame.stream];
    if (streams_.size() > kMaxStreams) {
      Respond(frame.stream, absl::ResourceExhaustedError("too many calls at once"));
      return absl::OkStatus();
    }
    handler_->OnCall(frame.stream, frame.code, frame.payload);
    return absl::OkStatus();
  }
  if (frame.type == FrameType::kResponse) {
    return absl::DataLossError("a response from the client");
  }
  if (frame.stream > last_stream_) {
    return absl::DataLossError(absl::StrCat("stream ", frame.stream, " is not open"));
  }
  Stream* stream = Find(frame.stream);
  // Ended on this side, which the client could not know yet.
  if (stream == nullptr || stream->cancelled) return absl::OkStatus();
  switch (frame.type) {
    case FrameType::kData:
      if (stream->closed || stream->receive_credit <= 0 || frame.payload.empty()) {
        return absl::DataLossError(absl::StrCat(
            "stream ", frame.stream, ": a message that is empty, after the end or without credit"));
      }
      stream->receive_credit -= static_cast<int64_t>(frame.payload.size());
      if (stream->events != nullptr) {
        stream->events->OnMessage(frame.payload);
      } else {
        Consumed(frame.stream, frame.payload.size());
      }
      return absl::OkStatus();
    case FrameType::kClose:
      if (!std::exchange(stream->closed, true) && stream->events != nullptr) {
        stream->events->OnClose();
      }
      return absl::OkStatus();
    case FrameType::kCancel:
      stream->cancelled = true;
      TellSent(*stream);
      stream = Find(frame.stream);
      if (stream != nullptr && stream->events != nullptr) stream->events->OnCancel();
      return absl::OkStatus();
    default: {
      ASSIGN_OR_RETURN(const uint32_t bytes, WindowBytes(frame));
      if (bytes > kWindowBytes - stream->send_credit) {
        return absl::DataLossError("credit for what was never sent");
      }
      stream->send_credit += bytes;
      TellSent(*stream);
      return absl::OkStatus();
    }
  }
}

void Server::Attach(uint32_t stream, StreamEvents* events) {
  if (Stream* found = Find(stream)) found->events = events;
}

void Server::Send(uint32_t id, absl::string_view message) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  stream->sending = true;
  if (stream->cancelled) return TellSent(*stream);
  AppendFrame(out_, {FrameType::kData, id, 0, message});
  stream->send_credit -= static_cast<int64_t>(message.size());
  stream->flushed = false;
  unsent_.emplace_back(written_ + out_.size() - out_offset_, id);
  Flush();
}

void Server::Consumed(uint32_t id, size_t bytes) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  stream->consumed += static_cast<int64_t>(bytes);
  // Not for every key that is typed.
  if (stream->consumed < kWindowBytes / 2) return;
  AppendWindow(out_, id, static_cast<uint32_t>(stream->consumed));
  stream->receive_credit += std::exchange(stream->consumed, 0);
  Flush();
}

void Server::Respond(uint32_t id, const absl::Status& status, absl::string_view response) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  if (!stream->cancelled) {
    if (status.ok() && response.size() > kMaxMessageBytes) {
      AppendResponse(out_, id, absl::ResourceExhaustedError("the answer is too large"), {});
    } else {
      AppendResponse(out_, id, status, response);
    }
  }
  streams_.erase(id);
  Flush();
}

void Server::SendLast(uint32_t id, absl::string_view message) {
  Stream* stream = Find(id);
  if (stream == nullptr) return;
  if (!stream->cancelled) AppendFrame(out_, {FrameType::kData, id, 0, message});
  Respond(id, absl::OkStatus());
}

void Server::Flush() {
  while (out_offset_ < out_.size()) {
    const ssize_t count = ::write(fd_, out_.data() + out_offset_, out_.size() - out_offset_);
    if (count < 0 && errno == EINTR) continue;
    // That the connection has ended is for reading to find out.
    if (count <= 0) break;
    out_offset_ += static_cast<size_t>(count);
    written_ += static_cast<size_t>(count);
  }
  if (out_offset_ == out_.size()) {
    out_offset_ = 0;
    out_.clear();
    if (out_.capacity() > kMaxDataBytes * 2) std::string().swap(out_);
  } else if (out_offset_ > kMaxDataBytes) {
    out_.erase(0, std::exchange(out_offset_, 0));
  }
  while (!unsent_.empty() && unsent_.front().first <= written_) {
    const uint32_t id = unsent_.front().second;
    unsent_.pop_front();
    Stream* stream = Find(id);
    if (stream == nullptr) continue;
    stream->flushed = true;
    TellSent(*stream);
  }
}

void Server::TellSent(Stream& stream) {
  if (!stream.sending) return;
  if (!stream.cancelled && (!stream.flushed || stream.send_credit <= 0)) return;
  stream.sending = false;
  if (stream.events != nullptr) stream.events->OnSent();
}

}  // namespace container::link
