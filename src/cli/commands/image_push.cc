#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {

int ImagePush(Invocation& call) {
  PlatformFlags platform_flags;
  FetchFlags fetch;
  std::optional<int> uploads;
  std::string reference;
  OptionParser parser(
      call,
      "Sends an image to the registry that its name leads to, and prints its digest "
      "there.");
  platform_flags.Declare(parser);
  fetch.DeclareConnection(parser);
  parser.Value("--max-concurrent-uploads", "N", &uploads, 1, "How many layers to send at once (3)");
  parser.Operand("IMAGE", &reference, "A name of the image");
  parser.Example("container image push ghcr.io/owner/app:1", "To where its name says");
  parser.Example(
      "container image tag app localhost:5000/app && container image push "
      "localhost:5000/app",
      "To a registry on this machine");
  if (std::optional<int> done = parser.Parse()) return *done;
  const absl::StatusOr<std::string> platform = platform_flags.Resolve();
  if (!platform.ok()) return parser.WrongUsage(platform.status().message());

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  Progress progress(fetch.progress);
  const absl::StatusOr<PushedImage> pushed =
      (*client)->PushImage({reference, *platform, fetch.scheme, uploads.value_or(0)},
                           [&](const ProgressEvent& event) { progress.Update(event); });
  progress.Finish();
  if (!pushed.ok()) return Fail(pushed.status());
  PrintLine(absl::StrCat(pushed->name, "@", pushed->digest));
  return kSuccess;
}

}  // namespace container::cli
