#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/disk.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
int ImagePrune(Invocation& call) {
  PruneOptions options;
  OptionParser parser(
      call,
      "Deletes images without a name, what interrupted downloads have left, and all "
      "content that nothing needs.");
  parser.Flag("-a, --all", &options.all, "Also images that no container is made from");
  parser.Example("container image prune -a", "Keep only what containers need");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (options.all) {
    const absl::Status found = FindImagesInUse(**client, options);
    if (!found.ok()) return Fail(found);
  }
  const absl::StatusOr<PrunedImages> pruned = (*client)->PruneImages(options);
  if (!pruned.ok()) return Fail(pruned.status());
  for (const std::string& name : pruned->names) PrintLine(name);
  // To standard error: the names are for scripts.
  PrintHint(absl::StrCat("Reclaimed ", base::FormatSize(pruned->reclaimed_bytes), " of disk"));
  return kSuccess;
}

}  // namespace container::cli
