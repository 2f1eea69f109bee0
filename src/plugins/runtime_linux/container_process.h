// One process of the container: its call to the guest, the client's sockets, and, for the first
// process, the log.
//
// Two threads carry the bytes: one from the guest to the client (and the log), one from the client
// to the guest. Both block where the other side is slow, so a client that reads slowly slows the
// process and nothing is ever held in memory or cut off. A client that has gone is forgotten; the
// process goes on. As the guest tells the end behind all output, the end is known here when the
// output has been delivered.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "plugins/runtime_linux/agent.h"
#include "plugins/runtime_linux/process_log.h"
#include "proto/common.pb.h"

namespace container::runtime_linux {

class ContainerProcess {
 public:
  struct Options {
    guest::StartProcess start;
    common::v1::Stdio stdio;
    ProcessLog* log = nullptr;  // not owned; none: output nobody wants is dropped
    /// Called once from the process's thread after its end is known (see exit()).
    std::function<void()> on_end;
  };

  /// Connects to the client's sockets.
  static absl::StatusOr<std::shared_ptr<ContainerProcess>> Create(Options options);
  /// Cancels the call, which kills the process in the guest.
  ~ContainerProcess();

  /// Returns when the process runs, or why it can't be executed.
  absl::StatusOr<std::optional<common::v1::ExecFailure>> Start(Agent& agent);

  bool ended();
  /// Waits for ended().
  bool WaitForEnd(std::chrono::milliseconds timeout);
  /// Once ended: its status, or the error that the guest did not tell.
  absl::StatusOr<common::v1::ExitStatus> exit();

  /// From now on a client that does not read is a client that has gone.
  void AbandonSlowClients();

  bool terminal() const { return options_.start.spec().terminal(); }

 private:
  explicit ContainerProcess(Options options, base::Fd abandon)
      : options_(std::move(options)), abandon_(std::move(abandon)) {}
  absl::StatusOr<std::optional<common::v1::ExecFailure>> Begin(Agent& agent);
  void CarryOutput();
  void CarryInput();
  void Deliver(absl::string_view stream, base::Fd& client, absl::string_view data);

  const Options options_;
  const base::Fd abandon_;  // eventfd
  std::unique_ptr<ProcessStream> stream_;
  base::Fd stdin_;
  base::Fd stdout_;
  base::Fd stderr_;
  bool log_failed_ = false;
  std::thread output_thread_;
  std::thread input_thread_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool ended_ = false;
  absl::StatusOr<common::v1::ExitStatus> exit_ = absl::UnknownError("");
};

}  // namespace container::runtime_linux
