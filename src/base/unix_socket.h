// Unix stream sockets, and who is at the other end.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::base {

/// Listens at `path` with mode 0600; whatever socket lay there is replaced (its owner is dead or
/// has lost it: locks, not sockets, say who may serve). INVALID_ARGUMENT if the path is over 107
/// bytes.
absl::StatusOr<Fd> ListenUnix(const std::string& path, int backlog = 128);

/// Connects and insists that the peer runs as this user (SO_PEERCRED): PERMISSION_DENIED otherwise,
/// NOT_FOUND if no socket is there, UNAVAILABLE if nobody listens.
absl::StatusOr<Fd> ConnectUnix(const std::string& path);

/// Accepts one connection of this user; strangers are closed and passed over. Blocks.
absl::StatusOr<Fd> AcceptUnix(int listener);

/// OK if the peer of a connected socket has this process's effective uid, or is root.
absl::Status CheckPeer(int fd);

}  // namespace container::base
