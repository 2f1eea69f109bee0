#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "cli/commands/commands.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {

int ImageSave(Invocation& call) {
  PlatformFlags platform_flags;
  FetchFlags fetch;
  std::string output;
  std::vector<std::string> references;
  OptionParser parser(call, "Saves images to one archive that OCI tools, podman and docker read.");
  platform_flags.Declare(parser);
  parser.Value("-o, --output", "FILE", &output,
               "Where to; '-' or not given: standard output, unless that is a terminal");
  fetch.DeclareProgress(parser);
  parser.Operands("IMAGE", &references, 1, "Names or digests");
  parser.Example("container image save -o app.tar app:1 app:2", "Several names in one archive");
  parser.Example("container image save app | gzip > app.tar.gz", "To another program");
  if (std::optional<int> done = parser.Parse()) return *done;
  const absl::StatusOr<std::string> platform = platform_flags.Resolve();
  if (!platform.ok()) return parser.WrongUsage(platform.status().message());
  SaveOptions options{references, *platform, ""};
  const bool to_standard_output = output.empty() || output == "-";
  if (to_standard_output && ::isatty(STDOUT_FILENO)) {
    return parser.WrongUsage("standard output is a terminal: name a file with --output");
  }
  if (!to_standard_output) {
    std::error_code error;
    options.path = std::filesystem::absolute(output, error);
  }

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  Progress progress(fetch.progress);
  const absl::StatusOr<std::vector<std::string>> saved = (*client)->SaveImages(
      options, [&](const ProgressEvent& event) { progress.Update(event); },
      [](const std::string& data) { return base::WriteAll(STDOUT_FILENO, data); });
  progress.Finish();
  if (!saved.ok()) return Fail(saved.status());
  if (!to_standard_output) {
    for (const std::string& name : *saved) PrintLine(name);
  }
  return kSuccess;
}

}  // namespace container::cli
