// The virtio-serial port that leads to the host.
#pragma once

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::vminitd {

/// Waits until the port named kAgentPortName is there and opens it, non-blocking.
absl::StatusOr<base::Fd> OpenAgentPort();

}  // namespace container::vminitd
