// What every command gets and gives back. Light on purpose: each command includes it.
//
// Exit codes: 0 success, 1 failure, 2 wrong usage. For run, exec and start -a the process's own
// status, 128+n if signal n ended it, 125 if we failed, 126 not executable, 127 not found.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace container::cli {

inline constexpr int kSuccess = 0;
inline constexpr int kFailure = 1;
inline constexpr int kWrongUsage = 2;
inline constexpr int kOwnFailure = 125;

/// One call of one command.
struct Invocation {
  std::string command;             // "container image pull"
  std::vector<std::string> words;  // behind the command's own
  bool debug = false;
};

/// A command: its words, what it does in one line, and the function that does it.
struct Command {
  absl::string_view words;    // "image pull"
  absl::string_view aliases;  // of its last word, separated by spaces
  absl::string_view summary;
  int (*run)(Invocation& call);
};

/// All commands, in the order of `container help`.
const std::vector<Command>& Commands();

/// The whole program: finds the command, runs it, returns the exit code.
int Main(const std::vector<std::string>& words);

}  // namespace container::cli
