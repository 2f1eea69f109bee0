// A process whose standard streams, signals, terminal and exit status are this program's own.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/app.h"
#include "cli/client.h"

namespace container::cli {

struct AttachPlan {
  std::string id;
  std::string process_id;  // empty: the container's first process
  bool interactive = false;
  bool terminal = false;
  /// Starts the process with its streams at these sockets. Called in another thread.
  std::function<absl::StatusOr<std::optional<ExecFailure>>(Client&, const StdioSockets&,
                                                           TerminalSize)>
      start;
  /// Called if the process could not be started, or starting it was given up.
  std::function<void(Client&)> abandon;
};

/// FAILED_PRECONDITION if a terminal and input are wanted and standard input is no terminal.
absl::Status CheckTerminal(bool interactive, bool terminal);

/// Starts the process and stays until it ends. Returns its exit status (128+n for signal n); 126 or
/// 127 if it could not be executed; 125 if we failed, which is reported here.
///
/// HUP, INT, QUIT, TERM, USR1 and USR2 are passed on; with the user's terminal in raw mode the keys
/// are the process's, and HUP, INT, QUIT and TERM end this program instead, the terminal restored.
/// The session outlives the apiserver: streams go on, and the exit status is asked of the next one.
int RunAttached(Invocation& call, const base::Paths& paths, std::shared_ptr<Client> client,
                const AttachPlan& plan);

}  // namespace container::cli
