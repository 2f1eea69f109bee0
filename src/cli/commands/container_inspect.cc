#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "nlohmann/json.hpp"

namespace container::cli {

int ContainerInspect(Invocation& call) {
  std::vector<std::string> ids;
  OptionParser parser(call, "Shows all about containers, as a JSON array.");
  parser.Operands("CONTAINER", &ids, 1, "The containers' ids");
  parser.Example("container inspect box", "All about one container");
  parser.Example("container inspect box | jq '.[0].status.exitCode'", "Its exit code");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  int code = kSuccess;
  std::vector<std::string> objects;
  for (const std::string& id : ids) {
    absl::StatusOr<std::string> object = (*client)->Get(id);
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
