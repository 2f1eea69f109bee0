#include "cli/commands/commands.h"
#include "cli/each.h"
#include "cli/output/print.h"

namespace container::cli {

int ContainerDelete(Invocation& call) {
  bool all = false;
  bool force = false;
  std::vector<std::string> ids;
  OptionParser parser(call, "Deletes containers with all they have written.");
  parser.Flag("-a, --all", &all, "Delete all; those that run only with --force");
  parser.Flag("-f, --force", &force, "Stop those that run first, without grace");
  parser.Operands("CONTAINER", &ids, 0, "The containers' ids");
  parser.Example("container delete box", "Delete one that has ended");
  parser.Example("container rm -f web", "Delete one that runs");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (std::optional<int> wrong = CheckIdsOrAll(parser, ids, all)) return *wrong;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (all) {
    absl::StatusOr<std::vector<std::string>> every = ContainerIds(**client, true);
    if (!every.ok()) return Fail(every.status());
    ids = *std::move(every);
  }
  return ForEach(ids, [&](const std::string& id) -> absl::Status {
    absl::Status status = (*client)->Delete(id, force);
    return all && absl::IsNotFound(status) ? absl::OkStatus() : status;
  });
}

}  // namespace container::cli
