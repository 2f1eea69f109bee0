#include "apiserver/containers/transitions.h"

#include <map>
#include <set>

#include "gtest/gtest.h"

namespace container::apiserver {
namespace {

constexpr State kStates[] = {State::kCreating, State::kCreated, State::kStarting, State::kRunning,
                             State::kStopping, State::kStopped, State::kDeleting, State::kGone};
constexpr Event kEvents[] = {Event::kBundleMade,  Event::kCreateFailed, Event::kStart,
                             Event::kStarted,     Event::kStartFailed,  Event::kStop,
                             Event::kEnded,       Event::kDelete,       Event::kDeleted,
                             Event::kDeleteFailed};

TEST(Transitions, EveryPairIsWhatTheDesignSays) {
  const std::map<std::pair<State, Event>, State> expected = {
      {{State::kCreating, Event::kBundleMade}, State::kCreated},
      {{State::kCreating, Event::kCreateFailed}, State::kGone},
      {{State::kCreated, Event::kStart}, State::kStarting},
      {{State::kCreated, Event::kDelete}, State::kDeleting},
      {{State::kStarting, Event::kStarted}, State::kRunning},
      {{State::kStarting, Event::kStartFailed}, State::kStopped},
      {{State::kRunning, Event::kStop}, State::kStopping},
      {{State::kRunning, Event::kEnded}, State::kStopped},
      {{State::kStopping, Event::kStop}, State::kStopping},
      {{State::kStopping, Event::kEnded}, State::kStopped},
      {{State::kStopped, Event::kStart}, State::kStarting},
      {{State::kStopped, Event::kDelete}, State::kDeleting},
      {{State::kDeleting, Event::kDeleted}, State::kGone},
      {{State::kDeleting, Event::kDeleteFailed}, State::kStopped},
  };
  for (State from : kStates) {
    for (Event event : kEvents) {
      auto found = expected.find({from, event});
      auto next = Next(from, event);
      if (found != expected.end()) {
        ASSERT_TRUE(next.ok()) << Name(from);
        EXPECT_EQ(*next, found->second);
      } else {
        EXPECT_EQ(next.status().code(), absl::StatusCode::kFailedPrecondition) << Name(from);
      }
    }
  }
  EXPECT_EQ(Transitions().size(), expected.size());
}

TEST(Transitions, EveryStateLeadsToTheEnd) {
  for (State from : kStates) {
    std::set<State> reached = {from};
    for (size_t before = 0; before != reached.size();) {
      before = reached.size();
      for (const Transition& transition : Transitions()) {
        if (reached.contains(transition.from)) reached.insert(transition.to);
      }
    }
    EXPECT_TRUE(reached.contains(State::kGone)) << Name(from);
  }
}

TEST(Transitions, NamesComeBack) {
  for (State state : kStates) EXPECT_EQ(StateFromName(Name(state)).value(), state);
  EXPECT_FALSE(StateFromName("dreaming").ok());
}

}  // namespace
}  // namespace container::apiserver
