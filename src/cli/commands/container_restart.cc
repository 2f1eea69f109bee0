#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/units.h"
#include "cli/commands/commands.h"
#include "cli/each.h"
#include "cli/output/print.h"
#include "model/container.h"

namespace container::cli {
namespace {

absl::Status Restart(Client& client, const std::string& id, int signal,
                     std::chrono::milliseconds timeout) {
  ASSIGN_OR_RETURN(std::string json, client.Get(id));
  ASSIGN_OR_RETURN(model::ContainerObject object, model::ParseContainerObject(json));
  if (object.configuration.auto_remove) {
    return absl::FailedPreconditionError(absl::StrCat(
        "container ", id, " was made with --rm and would be deleted by its stop: run a new one"));
  }
  RETURN_IF_ERROR(client.Stop(id, signal, timeout));
  ASSIGN_OR_RETURN(std::optional<ExecFailure> failure, client.Start(id, {}, {}));
  if (failure.has_value()) return absl::FailedPreconditionError(failure->message);
  return absl::OkStatus();
}

}  // namespace

int ContainerRestart(Invocation& call) {
  int signal = 0;
  std::optional<int> seconds;
  std::vector<std::string> ids;
  OptionParser parser(call, "Stops containers, where they run, and starts them again.");
  parser.Value(
      "-s, --signal", "SIGNAL",
      [&signal](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(signal, base::ParseSignal(value));
        return absl::OkStatus();
      },
      "The first signal; the container's stop signal if not given");
  parser.Value("-t, --time", "SECONDS", &seconds, 0,
               "How long to wait before SIGKILL; the container's stop timeout if not given");
  parser.Operands("CONTAINER", &ids, 1, "The containers' ids");
  parser.Example("container restart web", "Stop and start again");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const std::chrono::milliseconds timeout =
      seconds ? std::chrono::seconds(*seconds) : std::chrono::milliseconds(-1);
  return ForEach(ids,
                 [&](const std::string& id) { return Restart(**client, id, signal, timeout); });
}

}  // namespace container::cli
