#include "base/status.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

std::string RenderShort(const std::vector<ImageSummary>& images) {
  Table table({"NAME", "TAG", "DIGEST"});
  for (const ImageSummary& image : images) {
    table.Add({image.repository, image.tag, ShortDigest(image.digest)});
  }
  return table.Render();
}

/// A row for each platform.
std::string RenderVerbose(const std::vector<ImageSummary>& images) {
  Table table({"NAME", "TAG", "DIGEST", "PLATFORM", "SIZE", "CREATED", "MANIFEST"});
  for (const ImageSummary& image : images) {
    for (const ImageVariant& variant : image.variants) {
      table.Add({image.repository, image.tag, ShortDigest(image.digest), variant.platform,
                 base::FormatSize(variant.size_bytes), AgeOf(image.creation_date), variant.digest});
    }
  }
  return table.Render();
}

}  // namespace

int ImageList(Invocation& call) {
  bool quiet = false;
  bool verbose = false;
  Format format = Format::kTable;
  OptionParser parser(call, "Lists the images.");
  parser.Flag("-q, --quiet", &quiet, "Only the names");
  parser.Flag("-v, --verbose", &verbose, "Platforms, sizes and ages, too");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print them");
  parser.Example("container image list -v", "With sizes");
  parser.Example("container image ls -q", "Names for a script");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (quiet && verbose) return parser.WrongUsage("--quiet and --verbose exclude each other");

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::vector<std::string>> objects = (*client)->ListImages();
  if (!objects.ok()) return Fail(objects.status());
  if (!quiet && format != Format::kTable) {
    const absl::StatusOr<nlohmann::ordered_json> array = ParseObjects(*objects);
    if (!array.ok()) return Fail(array.status());
    Print(FormatAs(format, *array, "images"));
    return kSuccess;
  }
  std::vector<ImageSummary> images;
  for (const std::string& text : *objects) {
    absl::StatusOr<ImageSummary> image = SummarizeImage(text);
    if (!image.ok()) return Fail(image.status());
    images.push_back(*std::move(image));
  }
  if (quiet) {
    for (const ImageSummary& image : images) PrintLine(image.name);
  } else {
    Print(verbose ? RenderVerbose(images) : RenderShort(images));
  }
  return kSuccess;
}

}  // namespace container::cli
