#include "base/status.h"
#include "base/version.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "nlohmann/json.hpp"

namespace container::cli {

int SystemVersion(Invocation& call) {
  Format format = Format::kTable;
  OptionParser parser(call, "Shows the versions of the programs, as far as they run.");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print them");
  parser.Example("container system version", "For people");
  parser.Example("container system version --format json", "For a script");
  if (std::optional<int> done = parser.Parse()) return *done;

  struct Row {
    std::string name;
    std::string version;
    std::string commit;
  };
  std::vector<Row> rows = {{"container", std::string(base::kVersion), std::string(base::kCommit)}};
  // Without the services there is still this program's own version to tell.
  if (const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
      client.ok()) {
    const absl::StatusOr<SystemStatus> status = (*client)->GetStatus();
    if (!status.ok()) return Fail(status.status());
    rows.push_back({"container-apiserver", status->version, status->commit});
    for (const HelperStatus& helper : status->helpers) {
      rows.push_back({helper.name, helper.version, ""});
    }
  }
  if (format == Format::kTable) {
    Table table({"COMPONENT", "VERSION", "COMMIT"});
    for (const Row& row : rows) table.Add({row.name, row.version, row.commit});
    Print(table.Render());
    return kSuccess;
  }
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const Row& row : rows) {
    nlohmann::ordered_json object = {{"appName", row.name}, {"version", row.version}};
    if (!row.commit.empty()) object["commit"] = row.commit;
    array.push_back(std::move(object));
  }
  Print(FormatAs(format, array, "components"));
  return kSuccess;
}

}  // namespace container::cli
