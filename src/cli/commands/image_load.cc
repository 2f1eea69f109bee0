#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/output/print.h"
#include "cli/run_options.h"

namespace container::cli {
namespace {

/// Standard input as a file that the image service can open.
absl::StatusOr<std::string> SpoolInput(const base::TemporaryDirectory& folder) {
  if (::isatty(STDIN_FILENO)) {
    return absl::InvalidArgumentError("standard input is a terminal: name an archive with --input");
  }
  const std::string path = folder.path() + "/archive";
  ASSIGN_OR_RETURN(base::Fd file, base::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  std::vector<char> buffer(1 << 20);
  for (;;) {
    ASSIGN_OR_RETURN(size_t count, base::ReadSome(STDIN_FILENO, buffer), "standard input");
    if (count == 0) return path;
    RETURN_IF_ERROR(base::WriteAll(file.get(), absl::string_view(buffer.data(), count)), path);
  }
}

absl::StatusOr<std::vector<std::string>> Load(Client& client, const std::string& input,
                                              ProgressMode mode) {
  ASSIGN_OR_RETURN(base::TemporaryDirectory folder, base::TemporaryDirectory::Create());
  std::string path;
  if (input == "-") {
    ASSIGN_OR_RETURN(path, SpoolInput(folder));
  } else {
    std::error_code error;
    path = std::filesystem::absolute(input, error);
    if (::access(path.c_str(), R_OK) != 0) return base::ErrnoStatus(input);
  }
  Progress progress(mode);
  return client.LoadImages(path, [&](const ProgressEvent& event) { progress.Update(event); });
}

}  // namespace

int ImageLoad(Invocation& call) {
  std::string input = "-";
  ProgressMode mode = ProgressMode::kNone;
  if (absl::StatusOr<ProgressMode> automatic = ParseProgressMode("auto"); automatic.ok()) {
    mode = *automatic;
  }
  OptionParser parser(call, "Loads the images of an archive, and prints their names.");
  parser.Value(
      "-i, --input", "PATH", &input,
      "An OCI archive, an OCI layout folder or a docker archive, compressed or not; '-' or "
      "not given: standard input");
  parser.Value(
      "--progress", kProgressModes,
      [&mode](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(mode, ParseProgressMode(value));
        return absl::OkStatus();
      },
      "How to show the progress");
  parser.Example("container image load -i app.tar", "From a file");
  parser.Example("docker save app | container image load", "From another tool");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::vector<std::string>> images = Load(**client, input, mode);
  if (!images.ok()) return Fail(absl::StrCat("load ", input), images.status());
  for (const std::string& image : *images) {
    const absl::StatusOr<ImageSummary> summary = SummarizeImage(image);
    if (!summary.ok()) return Fail(summary.status());
    PrintLine(summary->name);
  }
  return kSuccess;
}

}  // namespace container::cli
