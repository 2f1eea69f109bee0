// One call of RunProcess: a process from its specification to its end, as a state machine on the
// event loop.
//
// Back-pressure: one message to the client is under way at a time, and no output is read before it
// has been passed on; one message from the client is held, and no other is asked for before it has
// been written to the process.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "base/fd.h"
#include "proto/vminitd.pb.h"
#include "vminitd/container.h"
#include "vminitd/event_loop.h"

namespace container::vminitd {

/// The client's side of a call. Its functions are called on the loop; they return at once, and
/// what comes of them is told to the Process by a task posted to the loop.
class ProcessStream {
 public:
  virtual ~ProcessStream() = default;

  /// Asks for the next message, which `Process::OnInput` gets. One at a time.
  virtual void Read() = 0;
  /// The message of the last successful Read.
  virtual const v1::ProcessInput& input() const = 0;

  /// To be filled before Write.
  virtual v1::ProcessOutput& output() = 0;
  /// Sends output(); `Process::OnWritten` follows.
  virtual void Write() = 0;
  /// Sends output() and ends the call.
  virtual void WriteLast() = 0;
  /// Ends the call.
  virtual void Finish(absl::Status status) = 0;
};

class Process {
 public:
  /// What the process needs of its surroundings.
  struct Host {
    EventLoop* loop;
    /// Starts the process in its container; OnStarted or Fail follows.
    std::function<void(Process&)> start;
    /// The process runs, or ran: its pid is to be reaped, and its end told by OnExit.
    std::function<void(Process&)> spawned;
  };

  Process(Host host, ProcessStream* stream) : host_(std::move(host)), stream_(stream) {}
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  // Events, all on the loop.
  void OnInput(bool ok);
  void OnWritten(bool ok);
  void OnCancel();
  void OnStarted(StartedProcess started);
  /// `wait_status` as by waitpid(2).
  void OnExit(int wait_status);
  /// Ends a call whose process was not made.
  void Fail(absl::Status status);

  const v1::StartProcess& request() const { return request_; }
  bool is_first() const { return request_.process_id() == request_.container_id(); }
  pid_t pid() const { return pid_; }
  /// Made, and not yet reaped.
  bool alive() const { return pid_ > 0 && !exited_; }
  /// Has or will have a place among the container's living processes.
  bool occupies_id() const { return has_request_ && !exited_ && !finished_; }

  /// INTERNAL, or FAILED_PRECONDITION without a terminal.
  absl::Status Resize(const v1::TerminalSize& size);
  void Kill(int signal);

 private:
  struct Output {
    base::Fd fd;
    bool ready = false;  // to be read when the client can take more
  };

  void Abort(absl::Status status);
  void WriteInput();
  void EndInput();
  void CloseInput();
  void WatchOutput(Output& output);
  void CloseOutput(Output& output);
  void PumpOutput();
  bool PumpOutputFrom(Output& output, bool is_stderr);
  void FinishIfEnded();
  void End();

  const Host host_;
  ProcessStream* const stream_;
  v1::StartProcess request_;
  bool has_request_ = false;

  base::Fd stdin_;
  size_t input_offset_ = 0;  // written of the message at hand
  bool input_pending_ = false;
  bool end_input_ = false;  // once the message at hand is written
  Output stdout_;
  Output stderr_;

  pid_t pid_ = 0;
  bool writing_ = false;  // a message is on its way to the client
  bool started_ = false;  // `started` was sent or is on its way
  bool aborted_ = false;  // the process is to be killed, and the call ends with abort_status_
  absl::Status abort_status_;
  bool exited_ = false;
  bool finished_ = false;
  int exit_code_ = 0;
  int64_t finished_ns_ = 0;
};

}  // namespace container::vminitd
