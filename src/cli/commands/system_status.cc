#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

std::string RenderTable(const SystemStatus& status) {
  Table table({"FIELD", "VALUE"});
  table.Add({"status", "running"});
  table.Add({"version", absl::StrCat(status.version, " (commit ", status.commit, ")")});
  table.Add({"pid", absl::StrCat(status.pid)});
  table.Add({"appRoot", status.app_root});
  table.Add({"installRoot", status.install_root});
  table.Add({"logRoot", status.log_root});
  table.Add({"accelerator",
             status.accelerator.empty()
                 ? "being probed"
                 : absl::StrCat(status.accelerator, " (", status.accelerator_reason, ")")});
  table.Add({"qemu", status.qemu_version});
  table.Add({"kernel", status.kernel_path.empty()
                           ? "none installed"
                           : absl::StrCat(status.kernel_version, " (", status.kernel_path, ")")});
  table.Add({"containers",
             absl::StrCat(status.containers_running, " running of ", status.containers_total)});
  for (const HelperStatus& helper : status.helpers) {
    table.Add({helper.name,
               absl::StrCat(helper.state, ", pid ", helper.pid, ", version ", helper.version)});
  }
  return table.Render();
}

nlohmann::ordered_json ToJson(const SystemStatus& status) {
  nlohmann::ordered_json helpers = nlohmann::ordered_json::array();
  for (const HelperStatus& helper : status.helpers) {
    helpers.push_back({{"name", helper.name},
                       {"pid", helper.pid},
                       {"version", helper.version},
                       {"state", helper.state}});
  }
  return {{"status", "running"},
          {"version", status.version},
          {"commit", status.commit},
          {"pid", status.pid},
          {"appRoot", status.app_root},
          {"installRoot", status.install_root},
          {"logRoot", status.log_root},
          {"accelerator", status.accelerator},
          {"acceleratorReason", status.accelerator_reason},
          {"qemuVersion", status.qemu_version},
          {"kernelPath", status.kernel_path},
          {"kernelVersion", status.kernel_version},
          {"helpers", std::move(helpers)},
          {"containersRunning", status.containers_running},
          {"containersTotal", status.containers_total},
          {"warnings", status.warnings}};
}

}  // namespace

int SystemStatusCommand(Invocation& call) {
  Format format = Format::kTable;
  OptionParser parser(call, "Shows whether the services run, and how. Exit code 1 if they don't.");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print it");
  parser.Example("container system status", "For people");
  parser.Example("container system status --format json | jq -r .accelerator", "For a script");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) {
    if (format != Format::kTable && absl::StartsWith(client.status().message(), kNotRunning)) {
      Print(FormatAs(format, {{"status", "not running"}}, "status"));
      return kFailure;
    }
    return Fail(client.status());
  }
  const absl::StatusOr<SystemStatus> status = (*client)->GetStatus();
  if (!status.ok()) return Fail(status.status());
  if (format != Format::kTable) {
    Print(FormatAs(format, ToJson(*status), "status"));
    return kSuccess;
  }
  Print(RenderTable(*status));
  for (const std::string& warning : status->warnings) PrintWarning(warning);
  return kSuccess;
}

}  // namespace container::cli
