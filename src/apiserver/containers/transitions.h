// The states of a container and every way between them: one table, see transitions.cc.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::apiserver {

enum class State {
  kCreating,  // its bundle is being built; not visible yet, but its name is taken
  kCreated,   // never started
  kStarting,  // its VM boots, its first process does not run yet
  kRunning,
  kStopping,
  kStopped,  // was started, or tried to be, and does not run
  kDeleting,
  kGone,  // in memory only, until the last reference goes
};

enum class Event {
  kBundleMade,
  kCreateFailed,
  kStart,
  kStarted,
  kStartFailed,
  kStop,
  kEnded,  // the runtime helper, and its VM with it
  kDelete,
  kDeleted,
  kDeleteFailed,
};

struct Transition {
  State from;
  Event event;
  State to;
};

/// All of them.
const std::vector<Transition>& Transitions();

/// FAILED_PRECONDITION, as a sentence about a container, if `event` may not happen in `from`.
absl::StatusOr<State> Next(State from, Event event);

/// As kept in the database.
absl::string_view Name(State state);
/// INVALID_ARGUMENT for a name that there is not.
absl::StatusOr<State> StateFromName(absl::string_view name);

/// `status.state` of the public container object: "running", "stopping" or "stopped".
absl::string_view PublicName(State state);

}  // namespace container::apiserver
