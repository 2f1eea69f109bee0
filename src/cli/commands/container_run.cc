#include "cli/attach.h"
#include "cli/commands/commands.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {
namespace {

int OwnFailure(const absl::Status& status) {
  Fail(status);
  return kOwnFailure;
}

int RunDetached(Client& client, const std::string& id, bool auto_remove) {
  const absl::StatusOr<std::optional<ExecFailure>> started = client.Start(id, {}, {});
  if (started.ok() && !started->has_value()) {
    PrintLine(id);
    return kSuccess;
  }
  if (auto_remove) client.Delete(id, true).IgnoreError();
  if (!started.ok()) return OwnFailure(started.status());
  PrintError((*started)->message);
  return (*started)->exit_code;
}

}  // namespace

int ContainerRun(Invocation& call) {
  CreateFlags flags;
  bool detach = false;
  OptionParser parser(call, "Creates a container from an image and runs a command in it.");
  parser.Flag("-d, --detach", &detach, "Run in the background and print the container's id");
  flags.Declare(parser);
  parser.Example("container run --rm alpine echo hello", "Run a command, keep nothing");
  parser.Example("container run -it --name box alpine sh", "A shell in a terminal");
  parser.Example("container run -d -c 2 -m 512m -e KEY=value nginx", "A service in the background");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<model::CreateOptions> options = flags.Resolve(RealEnvironment());
  if (!options.ok()) return parser.WrongUsage(options.status().message());
  if (!detach) {
    absl::Status terminal = CheckTerminal(flags.process.interactive, flags.process.terminal);
    if (!terminal.ok()) return OwnFailure(terminal);
  }
  const absl::StatusOr<base::Paths> paths = base::Paths::FromEnvironment();
  if (!paths.ok()) return OwnFailure(paths.status());
  absl::StatusOr<std::shared_ptr<Client>> client = Client::Connect(*paths, call.debug);
  if (!client.ok()) return OwnFailure(client.status());

  const absl::StatusOr<std::string> id = CreateContainer(**client, flags, *options);
  if (!id.ok()) return OwnFailure(id.status());
  if (detach) return RunDetached(**client, *id, flags.auto_remove);

  AttachPlan plan;
  plan.id = *id;
  plan.interactive = flags.process.interactive;
  plan.terminal = flags.process.terminal;
  plan.start = [id = *id](Client& through, const StdioSockets& stdio, TerminalSize size) {
    return through.Start(id, stdio, size);
  };
  if (flags.auto_remove) {
    plan.abandon = [id = *id](Client& through) { through.Delete(id, true).IgnoreError(); };
  }
  return RunAttached(call, *paths, *client, plan);
}

}  // namespace container::cli
