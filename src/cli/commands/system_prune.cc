#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/units.h"
#include "cli/commands/commands.h"
#include "cli/disk.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
namespace {

/// Asks on the terminal; "y" or "yes" is a yes.
bool Confirms(const std::string& question) {
  base::WriteAll(STDERR_FILENO, absl::StrCat(question, " [y/N] ")).IgnoreError();
  std::string answer;
  for (char c = 0;;) {
    const absl::StatusOr<size_t> count = base::ReadSome(STDIN_FILENO, std::span(&c, 1));
    if (!count.ok() || *count == 0 || c == '\n') break;
    answer.push_back(c);
  }
  return answer == "y" || answer == "Y" || answer == "yes";
}

}  // namespace

int SystemPrune(Invocation& call) {
  PruneOptions options;
  bool force = false;
  OptionParser parser(call,
                      "Deletes what nobody needs: containers that don't run with all they have "
                      "written, images without a name, and what interrupted downloads have left. "
                      "Asks first where a person sits at the terminal.");
  parser.Flag("-a, --all", &options.all, "Also images that no container is made from");
  parser.Flag("-f, --force", &force, "Don't ask");
  parser.Example("container system prune", "After a question");
  parser.Example("container system prune -af", "Keep only running containers and their images");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (!force && ::isatty(STDIN_FILENO) &&
      !Confirms(absl::StrCat(
          "Delete all containers that don't run, ",
          options.all ? "all images that no other container is made from" : "images without a name",
          " and leftovers?"))) {
    PrintHint("Nothing is deleted.");
    return kFailure;
  }
  const absl::StatusOr<PrunedContainers> containers = PruneContainers(**client);
  if (!containers.ok()) return Fail(containers.status());
  for (const std::string& id : containers->ids) PrintLine(absl::StrCat("container ", id));
  const absl::Status found = FindImagesInUse(**client, options);
  if (!found.ok()) return Fail(found);
  const absl::StatusOr<PrunedImages> images = (*client)->PruneImages(options);
  if (!images.ok()) return Fail(images.status());
  for (const std::string& name : images->names) PrintLine(absl::StrCat("image ", name));
  PrintLine(absl::StrCat("Reclaimed ",
                         base::FormatSize(containers->reclaimed_bytes + images->reclaimed_bytes),
                         " of disk"));
  return containers->status.ok() ? kSuccess : Fail(containers->status);
}

}  // namespace container::cli
