// The calling end, for threads that block: a thread of its own reads, and writes what a caller
// could not at once.
//
// The peer is not trusted: it can make calls fail, and hold a stream up until it is cancelled, but
// neither block another call nor make this process hold more than a few MiB a stream.
//
// Errors: those of the server; UNAVAILABLE when the connection has ended, and DATA_LOSS when the
// peer has broken the rules, both at once for all calls; DEADLINE_EXCEEDED. Thread-safe.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fd.h"

namespace container::link {

class Connection;
struct CallState;

/// One call. One thread may read while another writes. The destructor cancels; a call may outlive
/// its client.
class Call {
 public:
  Call(std::shared_ptr<Connection> connection, std::shared_ptr<CallState> state)
      : connection_(std::move(connection)), state_(std::move(state)) {}
  ~Call() { Cancel(); }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  /// For a call of one request and one response: waits for the latter. Once.
  absl::StatusOr<std::string> Await(std::chrono::milliseconds timeout);

  /// The next message; false when the call has ended and all were read, or it was cancelled.
  bool Read(std::string* message);
  /// Blocks while the peer takes nothing; false if the call has ended. A message has 1 to
  /// kMaxDataBytes bytes.
  bool Write(absl::string_view message);
  /// No more messages.
  void CloseWrites();
  /// Ends the call with CANCELLED unless it has ended, which wakes both threads.
  void Cancel();
  /// Waits until the call has ended and tells how. As the peer waits for the reader, Read should
  /// have returned false.
  absl::Status Finish();

 private:
  const std::shared_ptr<Connection> connection_;
  const std::shared_ptr<CallState> state_;
};

class Client {
 public:
  /// Takes a connected socket.
  static absl::StatusOr<std::unique_ptr<Client>> Create(base::Fd socket);
  /// Ends the connection, and so all calls.
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// Sends the request and returns at once. Requests arrive in the order of the calls to Start.
  std::unique_ptr<Call> Start(uint16_t method, absl::string_view request);

 private:
  explicit Client(std::shared_ptr<Connection> connection) : connection_(std::move(connection)) {}
  const std::shared_ptr<Connection> connection_;
};

}  // namespace container::link
