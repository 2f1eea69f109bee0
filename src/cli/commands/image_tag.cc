#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {

int ImageTag(Invocation& call) {
  std::string source;
  std::string target;
  OptionParser parser(call, "Gives an image another name, and prints that.");
  parser.Operand("SOURCE", &source, "A name or digest of the image");
  parser.Operand("TARGET", &target, "Its new name");
  parser.Example("container image tag alpine:latest registry.test:5000/base:1", "For a registry");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::string> image = (*client)->TagImage(source, target);
  if (!image.ok()) return Fail(image.status());
  const absl::StatusOr<ImageSummary> summary = SummarizeImage(*image);
  if (!summary.ok()) return Fail(summary.status());
  PrintLine(summary->name);
  return kSuccess;
}

}  // namespace container::cli
