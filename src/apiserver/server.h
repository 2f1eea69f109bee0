// The apiserver as a whole: start-up in order, and its end.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "base/paths.h"

namespace container::apiserver {

struct ServerOptions {
  base::Paths paths;
  int listen_fd = -1;  // a socket that listens already; -1: ours is made
  bool install_kernel = true;
};

/// Serves until SIGTERM, SIGINT or a Shutdown call, then ends the process. Containers and helpers
/// live on after a signal, and are adopted by the next apiserver; Shutdown has ended them before.
/// Calls `ready` once clients can connect. Returns only if it can't start: UNAVAILABLE if another
/// apiserver has the app root, INVALID_ARGUMENT for a bad config.toml.
/// SIGTERM and SIGINT must be blocked in every thread.
absl::Status Serve(const ServerOptions& options, const std::function<void()>& ready);

}  // namespace container::apiserver
