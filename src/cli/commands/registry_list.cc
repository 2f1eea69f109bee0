#include <chrono>

#include "base/status.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "nlohmann/json.hpp"

namespace container::cli {

int RegistryList(Invocation& call) {
  bool quiet = false;
  Format format = Format::kTable;
  OptionParser parser(call, "Lists the registries that you are logged in to.");
  parser.Flag("-q, --quiet", &quiet, "Only the registries");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print them");
  parser.Example("container registry list", "Registries and user names");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::vector<RegistryLogin>> logins = (*client)->ListLogins();
  if (!logins.ok()) return Fail(logins.status());
  if (quiet) {
    for (const RegistryLogin& login : *logins) PrintLine(login.registry);
    return kSuccess;
  }
  const auto time_of = [](const RegistryLogin& login) {
    return base::TimeFromNanoseconds(login.modified_ns);
  };
  if (format != Format::kTable) {
    nlohmann::ordered_json array = nlohmann::ordered_json::array();
    for (const RegistryLogin& login : *logins) {
      array.push_back({{"name", login.registry},
                       {"username", login.username},
                       {"modificationDate", base::FormatTimestamp(time_of(login))}});
    }
    Print(FormatAs(format, array, "registries"));
    return kSuccess;
  }
  Table table({"HOSTNAME", "USERNAME", "MODIFIED"});
  for (const RegistryLogin& login : *logins) {
    const auto age = std::chrono::system_clock::now() - time_of(login);
    table.Add({login.registry, login.username, login.modified_ns == 0 ? "" : base::FormatAge(age)});
  }
  Print(table.Render());
  return kSuccess;
}

}  // namespace container::cli
