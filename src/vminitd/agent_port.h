// The virtio-serial port that leads to the host, joined to a socket: gRPC speaks to sockets only.
#pragma once

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::vminitd {

/// Waits until the port named kAgentPortName is there and opens it, non-blocking.
absl::StatusOr<base::Fd> OpenAgentPort();

/// Joins the port to a new socketpair with two threads, and returns the other end, non-blocking.
/// When the host has closed its side after having had it open, `closed` is called, once, on one of
/// the threads.
absl::StatusOr<base::Fd> JoinAgentPort(base::Fd port, void (*closed)(void*), void* context);

}  // namespace container::vminitd
