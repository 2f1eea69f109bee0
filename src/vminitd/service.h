// The gRPC service of proto/vminitd.proto, in front of a Supervisor.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "base/fd.h"
#include "vminitd/supervisor.h"

namespace container::vminitd {

/// Serves one connection for as long as the object lives. Calls run on gRPC's threads and are
/// passed to the supervisor's loop.
class AgentServer {
 public:
  /// `connection` is a non-blocking socket.
  static absl::StatusOr<std::unique_ptr<AgentServer>> Create(Supervisor* supervisor,
                                                             base::Fd connection);
  virtual ~AgentServer() = default;
};

}  // namespace container::vminitd
