// The standard streams of an attached process: sockets on which this program listens, and pumps
// between them and its own descriptors.
//
// The runtime helper connects once to each socket. Input is half-closed at its end; output is read
// to its end, so nothing is cut off. The sockets lie in a new folder (0700) that dies with the
// object, and each is removed as soon as it has been accepted.
//
// Lifetime: Create listens; StartOutput() before the process is started; StartInput() when it runs;
// then wait for outputs_ended_fd(). The destructor stops everything; a write that blocks on this
// program's own standard output holds it up.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "cli/client.h"

namespace container::cli {

/// Descriptors of this process (not owned; must outlive the session); -1: the stream is not wanted.
struct LocalStreams {
  int in = -1;
  int out = -1;
  int error = -1;
};

class StdioSession {
 public:
  /// `folder` (Paths::ClientSockets()) is made where it is missing.
  static absl::StatusOr<std::unique_ptr<StdioSession>> Create(const std::string& folder,
                                                              LocalStreams local);
  StdioSession(const StdioSession&) = delete;
  StdioSession& operator=(const StdioSession&) = delete;
  ~StdioSession();

  const StdioSockets& sockets() const { return sockets_; }

  void StartOutput();
  void StartInput();

  /// The process has ended and its helper has sent all its output: what is in the sockets is still
  /// delivered, but a stream that some background process holds open is not waited for.
  void FinishOutput();

  /// Removes the sockets at once, for a program that ends without destructors.
  void RemoveSockets();

  /// Readable when all output streams have ended, at once if there are none.
  int outputs_ended_fd() const { return outputs_ended_.get(); }
  /// Readable when one of this program's own outputs has lost its reader (EPIPE).
  int broken_output_fd() const { return broken_output_.get(); }

  /// The first error in writing to this program's own outputs, but for EPIPE; 0 if none. Valid when
  /// the outputs have ended.
  int write_error() const { return write_error_; }

 private:
  StdioSession() = default;
  absl::Status Listen(const char* name, base::Fd& listener, std::string& path);
  void PumpInput();
  void PumpOutput(base::Fd listener, std::string path, int target);
  base::Fd Accept(const base::Fd& listener, const std::string& path, const base::Fd& stop);

  std::string folder_;
  StdioSockets sockets_;
  LocalStreams local_;
  base::Fd in_listener_;
  base::Fd out_listener_;
  base::Fd error_listener_;
  base::Fd stop_input_;     // eventfds
  base::Fd finish_output_;  // the process has ended
  base::Fd stop_output_;    // at once
  base::Fd outputs_ended_;
  base::Fd broken_output_;
  std::atomic<int> open_outputs_{0};
  std::atomic<int> write_error_{0};
  std::thread in_thread_;
  std::vector<std::thread> out_threads_;
};

}  // namespace container::cli
