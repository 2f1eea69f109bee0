#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "nlohmann/json.hpp"

namespace container::cli {

int ImageInspect(Invocation& call) {
  std::vector<std::string> references;
  OptionParser parser(call, "Shows all about images, as a JSON array.");
  parser.Operands("IMAGE", &references, 1, "Names or digests");
  parser.Example("container image inspect alpine", "All about one image");
  parser.Example("container image inspect alpine | jq '.[0].configuration.descriptor.digest'",
                 "Its digest");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  int code = kSuccess;
  std::vector<std::string> objects;
  for (const std::string& reference : references) {
    absl::StatusOr<std::string> object = (*client)->GetImage(reference);
    if (object.ok()) {
      objects.push_back(*std::move(object));
    } else {
      code = Fail(object.status());
    }
  }
  const absl::StatusOr<nlohmann::ordered_json> array = ParseObjects(objects);
  if (!array.ok()) return Fail(array.status());
  Print(FormatJson(*array));
  return code;
}

}  // namespace container::cli
