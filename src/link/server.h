// The serving end, for an event loop: nothing here blocks, and there are no threads.
//
// The owner watches the descriptor and calls OnReadable and OnWritable; what has come is told to
// the Handler from within OnReadable. All calls on one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "link/frame.h"

namespace container::link {

/// What happens to one stream that was attached. After Respond or OnCancel nothing more is told.
class StreamEvents {
 public:
  virtual ~StreamEvents() = default;
  /// A message; Consumed is to be called when it has been dealt with.
  virtual void OnMessage(absl::string_view message) = 0;
  /// The client sends no more messages.
  virtual void OnClose() = 0;
  /// The message of the last Send is on its way, and another one may be sent. May be called from
  /// within Send.
  virtual void OnSent() = 0;
  /// Nobody waits for the end of the call any more; it must still be ended with Respond.
  virtual void OnCancel() = 0;
};

class Server {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    /// A new call, to be ended by Respond, now or later. Attach, if at all, before returning.
    virtual void OnCall(uint32_t stream, uint16_t method, absl::string_view request) = 0;
  };

  /// `fd` is non-blocking, a socket or a character device, and not owned.
  Server(int fd, Handler* handler) : fd_(fd), handler_(handler) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  /// Reads and handles what there is. UNAVAILABLE: the peer has ended the connection. DATA_LOSS: it
  /// has broken the rules. Anything else: read(2) failed.
  absl::Status OnReadable();
  /// Writes what is waiting.
  void OnWritable() { Flush(); }
  bool connected() const { return connected_; }

  /// Sends the call's events to `events`, which lives until Respond.
  void Attach(uint32_t stream, StreamEvents* events);
  /// Sends a message of 1 to kMaxDataBytes bytes; the one before must have been sent (OnSent).
  void Send(uint32_t stream, absl::string_view message);
  /// A message of so many bytes has been dealt with.
  void Consumed(uint32_t stream, size_t bytes);
  /// Ends the call: with `response` if `status` is OK.
  void Respond(uint32_t stream, const absl::Status& status, absl::string_view response = {});
  /// Sends a last message and ends the call.
  void SendLast(uint32_t stream, absl::string_view message);

 private:
  struct Stream {
    StreamEvents* events = nullptr;
    int64_t send_credit = kWindowBytes;
    int64_t receive_credit = kWindowBytes;
    int64_t consumed = 0;  // and not yet given back
    bool flushed = true;   // the last message is written
    bool sending = false;  // OnSent is due
    bool closed = false;
    bool cancelled = false;
  };

  absl::Status Handle(const Frame& frame);
  Stream* Find(uint32_t stream);
  void Flush();
  void TellSent(Stream& stream);

  const int fd_;
  Handler* const handler_;
  bool connected_ = false;  // something has come
  FrameReader reader_;
  std::unordered_map<uint32_t, Stream> streams_;
  uint32_t last_stream_ = 0;
  std::string out_;
  size_t out_offset_ = 0;
  uint64_t written_ = 0;                              // of all bytes ever
  std::deque<std::pair<uint64_t, uint32_t>> unsent_;  // where messages end, and whose they are
};

}  // namespace container::link
