#include "absl/strings/str_cat.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {

int RegistryLogout(Invocation& call) {
  std::string registry;
  OptionParser parser(call, "Forgets the login at a registry.");
  parser.Operand("REGISTRY", &registry, "As 'container registry list' shows it");
  parser.Example("container registry logout ghcr.io", "Forget one");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::string> name = (*client)->Logout(registry);
  if (!name.ok()) return Fail(name.status());
  PrintLine(absl::StrCat("Logged out of ", *name));
  return kSuccess;
}

}  // namespace container::cli
