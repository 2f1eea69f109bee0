#include "absl/strings/str_cat.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {

int ContainerWait(Invocation& call) {
  std::vector<std::string> ids;
  OptionParser parser(call, "Waits until containers have ended, and prints their exit statuses.");
  parser.Operands("CONTAINER", &ids, 1, "The containers' ids");
  parser.Example("container wait job", "Wait for a container and print its status");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  int result = kSuccess;
  for (const std::string& id : ids) {
    const absl::StatusOr<int> code = (*client)->Wait(id, "");
    if (code.ok()) {
      PrintLine(absl::StrCat(*code));
    } else {
      result = Fail(code.status());
    }
  }
  return result;
}

}  // namespace container::cli
