// A helper that runs: launched with an already listening socket, or found again by a later
// apiserver.
//
// A helper lives in a session of its own and survives the apiserver. While the apiserver lives, it
// watches the helper by its pidfd and reaps it if it is its child. Dropping the object leaves the
// helper alone. Thread-safe.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "base/process_identity.h"

namespace container::apiserver {

class HelperProcess {
 public:
  /// Listens at `socket` and runs `program arguments… --socket SOCKET --listen-fd 3 --log LOG`.
  /// What it prints goes to the log, too. Callers may connect at once.
  static absl::StatusOr<std::shared_ptr<HelperProcess>> Launch(const std::string& program,
                                                               std::vector<std::string> arguments,
                                                               const std::string& socket,
                                                               const std::string& log_file);
  /// NOT_FOUND if that process has ended.
  static absl::StatusOr<std::shared_ptr<HelperProcess>> Adopt(const base::ProcessIdentity& identity,
                                                              const std::string& socket);

  const base::ProcessIdentity& identity() const { return identity_; }
  const std::string& socket() const { return socket_; }
  /// Readable when the helper has ended.
  int pidfd() const { return pidfd_.get(); }

  void Signal(int signal) const;
  /// True if it has ended (and is reaped) within `timeout`.
  bool WaitForEnd(std::chrono::milliseconds timeout) const;
  /// SIGTERM, SIGKILL after `grace`; returns when it has ended.
  void TerminateOrKill(std::chrono::milliseconds grace) const;

 private:
  HelperProcess(base::ProcessIdentity identity, base::Fd pidfd, std::string socket)
      : identity_(identity), pidfd_(std::move(pidfd)), socket_(std::move(socket)) {}
  const base::ProcessIdentity identity_;
  const base::Fd pidfd_;
  const std::string socket_;
};

}  // namespace container::apiserver
