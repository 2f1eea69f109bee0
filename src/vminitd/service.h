// The calls of proto/vminitd.proto, between the agent port and a Supervisor.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "vminitd/supervisor.h"

namespace container::vminitd {

/// Serves the port for as long as the object lives, on the supervisor's loop. When the host has
/// closed its side after having had it open, or breaks the rules, the VM is powered off.
class AgentServer {
 public:
  static absl::StatusOr<std::unique_ptr<AgentServer>> Create(Supervisor* supervisor, base::Fd port);
  virtual ~AgentServer() = default;
};

}  // namespace container::vminitd
