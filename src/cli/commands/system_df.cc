#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/units.h"
#include "cli/commands/commands.h"
#include "cli/disk.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "nlohmann/json.hpp"

namespace container::cli {

int SystemDf(Invocation& call) {
  Format format = Format::kTable;
  OptionParser parser(call,
                      "Shows what images, containers, logs and kernels take of the disk, and what "
                      "'container system prune -a' would give back.");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print it");
  parser.Example("container system df", "For people");
  parser.Example("container system df --format json | jq .images.sizeInBytes", "For a script");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::vector<UsageRow>> rows = MeasureDisk(**client);
  if (!rows.ok()) return Fail(rows.status());
  if (format == Format::kTable) {
    Table table({"TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"});
    for (const UsageRow& row : *rows) {
      table.Add({row.title, absl::StrCat(row.total), absl::StrCat(row.active),
                 base::FormatSize(row.size_bytes), base::FormatSize(row.reclaimable_bytes)});
    }
    Print(table.Render());
    return kSuccess;
  }
  nlohmann::ordered_json object = nlohmann::ordered_json::object();
  for (const UsageRow& row : *rows) {
    object[row.key] = {{"total", row.total},
                       {"active", row.active},
                       {"sizeInBytes", row.size_bytes},
                       {"reclaimable", row.reclaimable_bytes}};
  }
  Print(FormatAs(format, object, "usage"));
  return kSuccess;
}

}  // namespace container::cli
