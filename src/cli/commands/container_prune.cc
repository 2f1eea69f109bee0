#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "cli/commands/commands.h"
#include "cli/disk.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {

int ContainerPrune(Invocation& call) {
  OptionParser parser(call, "Deletes all containers that don't run, with all they have written.");
  parser.Example("container prune", "Delete them, and print their ids");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<PrunedContainers> pruned = PruneContainers(**client);
  if (!pruned.ok()) return Fail(pruned.status());
  for (const std::string& id : pruned->ids) PrintLine(id);
  // To standard error: the ids are for scripts.
  PrintHint(absl::StrCat("Reclaimed ", base::FormatSize(pruned->reclaimed_bytes), " of disk"));
  return pruned->status.ok() ? kSuccess : Fail(pruned->status);
}

}  // namespace container::cli
