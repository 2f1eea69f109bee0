#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/print.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

/// Adds the images that containers were made from.
absl::Status FindImagesInUse(Client& client, PruneOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<std::string> objects, client.List(/*all=*/true));
  ASSIGN_OR_RETURN(const nlohmann::ordered_json containers, ParseObjects(objects));
  for (const auto& container : containers) {
    const auto image = container.find("configuration") == container.end()
                           ? nlohmann::ordered_json()
                           : container["configuration"].value("image", nlohmann::ordered_json());
    // Rather delete nothing than what is in use.
    if (!image.is_object() || !image.contains("reference") || !image["reference"].is_string()) {
      return absl::InternalError("container-apiserver sent a container without an image");
    }
    options.in_use_references.push_back(image["reference"].get<std::string>());
    if (const auto descriptor = image.find("descriptor");
        descriptor != image.end() && descriptor->is_object()) {
      options.in_use_digests.push_back(descriptor->value("digest", ""));
    }
  }
  return absl::OkStatus();
}

}  // namespace

int ImagePrune(Invocation& call) {
  PruneOptions options;
  OptionParser parser(call,
                      "Deletes images without a name, what interrupted downloads have left, and all "
                      "content that nothing needs.");
  parser.Flag("-a, --all", &options.all, "Also images that no container is made from");
  parser.Example("container image prune -a", "Keep only what containers need");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  if (options.all) {
    const absl::Status found = FindImagesInUse(**client, options);
    if (!found.ok()) return Fail(found);
  }
  const absl::StatusOr<PrunedImages> pruned = (*client)->PruneImages(options);
  if (!pruned.ok()) return Fail(pruned.status());
  for (const std::string& name : pruned->names) PrintLine(name);
  // To standard error: the names are for scripts.
  PrintHint(absl::StrCat("Reclaimed ", base::FormatSize(pruned->reclaimed_bytes), " of disk"));
  return kSuccess;
}

}  // namespace container::cli
