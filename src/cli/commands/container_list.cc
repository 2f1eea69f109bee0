#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "model/container.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

/// The first network's address, without the prefix length.
std::string AddressOf(const nlohmann::ordered_json& object) {
  const nlohmann::ordered_json networks =
      object.value("/status/networks"_json_pointer, nlohmann::ordered_json::array());
  if (!networks.is_array() || networks.empty()) return "";
  const std::string address = networks[0].value("ipv4Address", "");
  return address.substr(0, address.find('/'));
}

absl::StatusOr<std::string> RenderTable(const std::vector<std::string>& objects) {
  Table table({"ID", "IMAGE", "OS", "ARCH", "STATE", "ADDR", "CPUS", "MEMORY", "STARTED"});
  for (const std::string& text : objects) {
    ASSIGN_OR_RETURN(model::ContainerObject object, model::ParseContainerObject(text));
    const model::ContainerConfiguration& configuration = object.configuration;
    const auto json = nlohmann::ordered_json::parse(text, nullptr, false);
    table.Add({configuration.id, configuration.image_reference, configuration.platform.os,
               configuration.platform.architecture, object.status.state, AddressOf(json),
               absl::StrCat(configuration.resources.cpus),
               base::FormatSize(configuration.resources.memory_bytes),
               AgeOf(object.status.started_date)});
  }
  return table.Render();
}

}  // namespace

int ContainerList(Invocation& call) {
  bool all = false;
  bool quiet = false;
  Format format = Format::kTable;
  OptionParser parser(call, "Lists the containers that run.");
  parser.Flag("-a, --all", &all, "Those that don't run, too");
  parser.Flag("-q, --quiet", &quiet, "Only the ids");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print them");
  parser.Example("container list --all", "All containers");
  parser.Example("container ls --format json | jq '.[].id'", "For a script");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::vector<std::string>> objects = (*client)->List(all);
  if (!objects.ok()) return Fail(objects.status());
  if (quiet) {
    for (const std::string& text : *objects) {
      const absl::StatusOr<model::ContainerObject> object = model::ParseContainerObject(text);
      if (!object.ok()) return Fail(object.status());
      PrintLine(object->configuration.id);
    }
    return kSuccess;
  }
  if (format == Format::kTable) {
    const absl::StatusOr<std::string> table = RenderTable(*objects);
    if (!table.ok()) return Fail(table.status());
    Print(*table);
    return kSuccess;
  }
  const absl::StatusOr<nlohmann::ordered_json> array = ParseObjects(*objects);
  if (!array.ok()) return Fail(array.status());
  Print(FormatAs(format, *array, "containers"));
  return kSuccess;
}

}  // namespace container::cli
