#include "cli/commands/commands.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {

int ContainerCreate(Invocation& call) {
  CreateFlags flags;
  OptionParser parser(call, "Creates a container from an image, and prints its id.");
  flags.Declare(parser);
  parser.Example("container create --name box alpine sleep 1000", "Create now");
  parser.Example("container start box", "Start later");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<model::CreateOptions> options = flags.Resolve(RealEnvironment());
  if (!options.ok()) return parser.WrongUsage(options.status().message());
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::string> id = CreateContainer(**client, flags, *options);
  if (!id.ok()) return Fail(id.status());
  PrintLine(*id);
  return kSuccess;
}

}  // namespace container::cli
