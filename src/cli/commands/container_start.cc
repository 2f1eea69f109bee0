#include "absl/strings/str_cat.h"
#include "cli/attach.h"
#include "cli/commands/commands.h"
#include "cli/each.h"
#include "cli/output/print.h"
#include "model/container.h"

namespace container::cli {
namespace {

int StartAttached(Invocation& call, const std::string& id, bool interactive) {
  const auto failed = [](const absl::Status& status) {
    Fail(status);
    return kOwnFailure;
  };
  const absl::StatusOr<base::Paths> paths = base::Paths::FromEnvironment();
  if (!paths.ok()) return failed(paths.status());
  absl::StatusOr<std::shared_ptr<Client>> client = Client::Connect(*paths, call.debug);
  if (!client.ok()) return failed(client.status());
  const absl::StatusOr<std::string> text = (*client)->Get(id);
  if (!text.ok()) return failed(text.status());
  const absl::StatusOr<model::ContainerObject> object = model::ParseContainerObject(*text);
  if (!object.ok()) return failed(object.status());
  if (object->status.state == "running") {
    return failed(absl::FailedPreconditionError(
        absl::StrCat("container ", id, " runs already: its streams can't be attached to")));
  }
  const bool terminal = object->configuration.init_process.terminal;
  if (absl::Status status = CheckTerminal(interactive, terminal); !status.ok()) {
    return failed(status);
  }
  AttachPlan plan;
  plan.id = id;
  plan.interactive = interactive;
  plan.terminal = terminal;
  plan.start = [id](Client& through, const StdioSockets& stdio, TerminalSize size) {
    return through.Start(id, stdio, size);
  };
  return RunAttached(call, *paths, *client, plan);
}

}  // namespace

int ContainerStart(Invocation& call) {
  bool attach = false;
  bool interactive = false;
  std::vector<std::string> ids;
  OptionParser parser(call, "Starts containers that were created or have ended.");
  parser.Flag("-a, --attach", &attach, "Show the output, and end with the process's status");
  parser.Flag("-i, --interactive", &interactive, "Pass standard input on; attaches too");
  parser.Operands("CONTAINER", &ids, 1, "The containers' ids");
  parser.Example("container start web db", "Start two containers");
  parser.Example("container start -ai box", "Start one and talk to it");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (attach || interactive) {
    if (ids.size() > 1) return parser.WrongUsage("only one container can be attached to");
    return StartAttached(call, ids[0], interactive);
  }

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  return ForEach(ids, [&](const std::string& id) -> absl::Status {
    const absl::StatusOr<std::optional<ExecFailure>> started = (*client)->Start(id, {}, {});
    if (!started.ok()) return started.status();
    if (started->has_value()) return absl::FailedPreconditionError((*started)->message);
    return absl::OkStatus();
  });
}

}  // namespace container::cli
