#include <signal.h>

#include "base/status.h"
#include "base/units.h"
#include "cli/commands/commands.h"
#include "cli/each.h"
#include "cli/output/print.h"

namespace container::cli {

int ContainerKill(Invocation& call) {
  bool all = false;
  int signal = SIGKILL;
  std::vector<std::string> ids;
  OptionParser parser(call, "Sends a signal to the first process of containers.");
  parser.Flag("-a, --all", &all, "To all that run");
  parser.Value(
      "-s, --signal", "SIGNAL",
      [&signal](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(signal, base::ParseSignal(value));
        return absl::OkStatus();
      },
      "A name or number (SIGKILL)");
  parser.Operands("CONTAINER", &ids, 0, "The containers' ids");
  parser.Example("container kill box", "End it at once");
  parser.Example("container kill -s HUP web", "Have it read its configuration again");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (std::optional<int> wrong = CheckIdsOrAll(parser, ids, all)) return *wrong;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (all) {
    absl::StatusOr<std::vector<std::string>> running = ContainerIds(**client, false);
    if (!running.ok()) return Fail(running.status());
    ids = *std::move(running);
  }
  return ForEach(ids, [&](const std::string& id) { return (*client)->Signal(id, "", signal); });
}

}  // namespace container::cli
