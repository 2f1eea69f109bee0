#include "absl/strings/str_cat.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {

int ImageDelete(Invocation& call) {
  std::vector<std::string> references;
  OptionParser parser(call,
                      "Deletes names of images, and with an image's last name what it takes.");
  parser.Operands("IMAGE", &references, 1, "Names or digests");
  parser.Example("container image delete alpine:latest", "One image");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  int code = kSuccess;
  int64_t reclaimed_bytes = 0;
  for (const std::string& reference : references) {
    const absl::StatusOr<DeletedImage> deleted = (*client)->DeleteImage(reference);
    if (!deleted.ok()) {
      code = Fail(deleted.status());
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
