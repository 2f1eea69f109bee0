#include "base/status.h"
#include "base/units.h"
#include "cli/commands/commands.h"
#include "cli/each.h"
#include "cli/output/print.h"

namespace container::cli {

int ContainerStop(Invocation& call) {
  bool all = false;
  int signal = 0;
  std::optional<int> seconds;
  std::vector<std::string> ids;
  OptionParser parser(call,
                      "Stops containers: a signal to the process, and SIGKILL if it goes on.");
  parser.Flag("-a, --all", &all, "Stop all that run");
  parser.Value(
      "-s, --signal", "SIGNAL",
      [&signal](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(signal, base::ParseSignal(value));
        return absl::OkStatus();
      },
      "The first signal; the image's stop signal or SIGTERM if not given");
  parser.Value("-t, --time", "SECONDS", &seconds, 0, "How long to wait before SIGKILL (5)");
  parser.Operands("CONTAINER", &ids, 0, "The containers' ids");
  parser.Example("container stop web db", "Stop two containers");
  parser.Example("container stop -t 0 box", "Stop without grace");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (std::optional<int> wrong = CheckIdsOrAll(parser, ids, all)) return *wrong;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (all) {
    absl::StatusOr<std::vector<std::string>> running = ContainerIds(**client, false);
    if (!running.ok()) return Fail(running.status());
    ids = *std::move(running);
  }
  const std::chrono::milliseconds timeout =
      seconds ? std::chrono::seconds(*seconds) : std::chrono::milliseconds(-1);
  return ForEach(ids, [&](const std::string& id) -> absl::Status {
    absl::Status status = (*client)->Stop(id, signal, timeout);
    // With --all, one that has just been removed is stopped.
    return all && absl::IsNotFound(status) ? absl::OkStatus() : status;
  });
}

}  // namespace container::cli
