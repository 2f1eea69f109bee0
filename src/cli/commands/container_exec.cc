#include "base/uuid.h"
#include "cli/attach.h"
#include "cli/commands/commands.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {

int ContainerExec(Invocation& call) {
  ProcessFlags flags;
  bool detach = false;
  std::string id;
  std::vector<std::string> arguments;
  OptionParser parser(call, "Runs a further command in a running container.");
  parser.Flag("-d, --detach", &detach, "Don't wait for it; print the container's id");
  flags.Declare(parser);
  parser.Operand("CONTAINER", &id, "The container's id");
  parser.Rest("COMMAND", &arguments, "The command; all words behind the container");
  parser.Example("container exec -it box sh", "A shell in the container");
  parser.Example("container exec -u nobody box id", "As another user");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (arguments.empty()) return parser.WrongUsage("COMMAND is missing");
  const absl::StatusOr<model::ProcessOptions> options = flags.Resolve(arguments, RealEnvironment());
  if (!options.ok()) return parser.WrongUsage(options.status().message());

  const auto failed = [](const absl::Status& status) {
    Fail(status);
    return kOwnFailure;
  };
  if (!detach) {
    absl::Status terminal = CheckTerminal(flags.interactive, flags.terminal);
    if (!terminal.ok()) return failed(terminal);
  }
  const absl::StatusOr<base::Paths> paths = base::Paths::FromEnvironment();
  if (!paths.ok()) return failed(paths.status());
  absl::StatusOr<std::shared_ptr<Client>> client = Client::Connect(*paths, call.debug);
  if (!client.ok()) return failed(client.status());

  AttachPlan plan;
  plan.id = id;
  plan.process_id = base::NewUuid();
  plan.interactive = flags.interactive;
  plan.terminal = flags.terminal;
  plan.start = [id, process_id = plan.process_id, json = options->ToJson()](
                   Client& through, const StdioSockets& stdio, TerminalSize size) {
    return through.Exec(id, process_id, json, stdio, size);
  };
  if (!detach) return RunAttached(call, *paths, *client, plan);

  const absl::StatusOr<std::optional<ExecFailure>> started = plan.start(**client, {}, {});
  if (!started.ok()) return failed(started.status());
  if (started->has_value()) {
    PrintError((*started)->message);
    return (*started)->exit_code;
  }
  PrintLine(id);
  return kSuccess;
}

}  // namespace container::cli
