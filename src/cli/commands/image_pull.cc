#include "absl/strings/str_cat.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {

int ImagePull(Invocation& call) {
  PlatformFlags platform_flags;
  FetchFlags fetch;
  std::string reference;
  OptionParser parser(call, "Fetches an image from a registry, and prints its full name.");
  platform_flags.Declare(parser);
  fetch.Declare(parser);
  parser.Operand("IMAGE", &reference, "The image, such as alpine or ghcr.io/owner/name:tag");
  parser.Example("container image pull alpine:latest", "From the default registry");
  parser.Example("container image pull --scheme http registry.test:5000/app", "Without TLS");
  if (std::optional<int> done = parser.Parse()) return *done;
  const absl::StatusOr<std::string> platform = platform_flags.Resolve();
  if (!platform.ok()) return parser.WrongUsage(platform.status().message());

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  Progress progress(fetch.progress);
  const absl::StatusOr<std::string> image =
      (*client)->PullImage(fetch.Resolve(reference, *platform),
                           [&](const ProgressEvent& event) { progress.Update(event); });
  progress.Finish();
  if (!image.ok()) return Fail(absl::StrCat("pull ", reference), image.status());
  const absl::StatusOr<ImageSummary> summary = SummarizeImage(*image);
  if (!summary.ok()) return Fail(summary.status());
  PrintLine(summary->name);
  return kSuccess;
}

}  // namespace container::cli
