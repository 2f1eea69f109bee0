#include "apiserver/containers/transitions.h"

#include <array>

#include "absl/strings/str_cat.h"

namespace container::apiserver {
namespace {

struct StateNames {
  State state;
  absl::string_view name;
  absl::string_view public_name;
};

constexpr std::array<StateNames, 8> kNames = {{
    {State::kCreating, "creating", "stopped"},
    {State::kCreated, "created", "stopped"},
    {State::kStarting, "starting", "stopped"},
    {State::kRunning, "running", "running"},
    {State::kStopping, "stopping", "stopping"},
    {State::kStopped, "stopped", "stopped"},
    {State::kDeleting, "deleting", "stopped"},
    {State::kGone, "gone", "stopped"},
}};

absl::string_view Wish(Event event) {
  switch (event) {
    case Event::kStart:
      return "can't be started";
    case Event::kStop:
      return "can't be stopped";
    case Event::kDelete:
      return "can't be deleted";
    default:
      return "can't change so";
  }
}

}  // namespace

const std::vector<Transition>& Transitions() {
  static const auto& table = *new std::vector<Transition>{
      {State::kCreating, Event::kBundleMade, State::kCreated},
      {State::kCreating, Event::kCreateFailed, State::kGone},
      {State::kCreated, Event::kStart, State::kStarting},
      {State::kCreated, Event::kDelete, State::kDeleting},
      {State::kStarting, Event::kStarted, State::kRunning},
      {State::kStarting, Event::kStartFailed, State::kStopped},
      {State::kRunning, Event::kStop, State::kStopping},
      {State::kRunning, Event::kEnded, State::kStopped},
      {State::kStopping, Event::kStop, State::kStopping},
      {State::kStopping, Event::kEnded, State::kStopped},
      {State::kStopped, Event::kStart, State::kStarting},
      {State::kStopped, Event::kDelete, State::kDeleting},
      {State::kDeleting, Event::kDeleted, State::kGone},
      {State::kDeleting, Event::kDeleteFailed, State::kStopped},
  };
  return table;
}

absl::StatusOr<State> Next(State from, Event event) {
  for (const Transition& transition : Transitions()) {
    if (transition.from == from && transition.event == event) return transition.to;
  }
  return absl::FailedPreconditionError(
      absl::StrCat("a container that is ", Name(from), " ", Wish(event)));
}

absl::string_view Name(State state) { return kNames[static_cast<size_t>(state)].name; }

absl::StatusOr<State> StateFromName(absl::string_view name) {
  for (const StateNames& names : kNames) {
    if (names.name == name) return names.state;
  }
  return absl::InvalidArgumentError(absl::StrCat("no container state is called '", name, "'"));
}

absl::string_view PublicName(State state) { return kNames[static_cast<size_t>(state)].public_name; }

}  // namespace container::apiserver
