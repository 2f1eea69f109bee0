#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {

int ImageDelete(Invocation& call) {
  bool all = false;
  bool force = false;
  std::vector<std::string> references;
  OptionParser parser(call,
                      "Deletes names of images, and with an image's last name what it takes. "
                      "Containers keep what they need.");
  parser.Flag("-a, --all", &all, "Delete all images");
  parser.Flag("-f, --force", &force, "Images that are not there are no error");
  parser.Operands("IMAGE", &references, 0, "Names or digests");
  parser.Example("container image delete alpine:latest", "One image");
  parser.Example("container image rm -a", "All of them");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (all != references.empty()) {
    return parser.WrongUsage(all ? "--all and IMAGE exclude each other"
                                 : "name an image, or use --all");
  }

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (all) {
    const absl::StatusOr<std::vector<std::string>> images = (*client)->ListImages();
    if (!images.ok()) return Fail(images.status());
    for (const std::string& image : *images) {
      const absl::StatusOr<ImageSummary> summary = SummarizeImage(image);
      if (!summary.ok()) return Fail(summary.status());
      references.push_back(summary->name);
    }
  }
  int code = kSuccess;
  int64_t reclaimed_bytes = 0;
  for (const std::string& reference : references) {
    const absl::StatusOr<DeletedImage> deleted = (*client)->DeleteImage(reference);
    if (!deleted.ok()) {
      if (!absl::IsNotFound(deleted.status()) || (!force && !all)) code = Fail(deleted.status());
      continue;
    }
    PrintLine(deleted->name);
    reclaimed_bytes += deleted->reclaimed_bytes;
  }
  // To standard error: the names are for scripts.
  if (reclaimed_bytes > 0) {
    PrintHint(absl::StrCat("Reclaimed ", base::FormatSize(reclaimed_bytes), " of disk"));
  }
  return code;
}

}  // namespace container::cli
