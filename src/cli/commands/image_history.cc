#include "base/status.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/images.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/table.h"
#include "cli/run_options.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownCommandLength = 60;

/// The variant for `platform` ("" for the first).
const Json* FindVariant(const Json& image, const std::string& platform) {
  const auto variants = image.find("variants");
  if (variants == image.end() || !variants->is_array()) return nullptr;
  for (const Json& variant : *variants) {
    const Json named = variant.value("platform", Json::object());
    std::string text = named.value("os", "") + "/" + named.value("architecture", "");
    const std::string plain = text;
    if (const std::string part = named.value("variant", ""); !part.empty()) text += "/" + part;
    if (platform.empty() || platform == text || platform == plain) return &variant;
  }
  return nullptr;
}

/// One object for each step, the last one first: {created, createdBy, size, layer, comment}.
Json StepsOf(const Json& variant) {
  const Json config = variant.value("config", Json::object());
  const Json layers = variant.value("layers", Json::array());
  Json steps = Json::array();
  size_t next_layer = 0;
  const Json history = config.value("history", Json::array());
  const auto add = [&](const Json& entry, bool has_layer) {
    Json step = {{"created", entry.value("created", "")},
                 {"createdBy", entry.value("created_by", "")},
                 {"size", int64_t{0}},
                 {"layer", ""},
                 {"comment", entry.value("comment", "")}};
    if (has_layer && next_layer < layers.size()) {
      const Json& layer = layers[next_layer++];
      step["size"] = layer.value("size", int64_t{0});
      step["layer"] = layer.value("digest", "");
    }
    steps.insert(steps.begin(), std::move(step));
  };
  for (const Json& entry : history) add(entry, !entry.value("empty_layer", false));
  // Some builders tell no history.
  while (next_layer < layers.size()) add(Json::object(), true);
  return steps;
}

}  // namespace

int ImageHistory(Invocation& call) {
  PlatformFlags platform_flags;
  bool quiet = false;
  bool whole = false;
  Format format = Format::kTable;
  std::string reference;
  OptionParser parser(call, "Shows the steps in which an image was made, the last one first.");
  platform_flags.Declare(parser);
  parser.Flag("-q, --quiet", &quiet, "Only the layers' digests");
  parser.Flag("--no-trunc", &whole, "Show commands and digests in full");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print them");
  parser.Operand("IMAGE", &reference, "A name or digest of the image");
  parser.Example("container image history alpine", "Its layers, with sizes");
  if (std::optional<int> done = parser.Parse()) return *done;
  const absl::StatusOr<std::string> platform = platform_flags.Resolve();
  if (!platform.ok()) return parser.WrongUsage(platform.status().message());

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  const absl::StatusOr<std::string> object = (*client)->GetImage(reference);
  if (!object.ok()) return Fail(object.status());
  Json steps;
  try {
    const Json image = Json::parse(*object);
    const Json* variant = FindVariant(image, *platform);
    if (variant == nullptr) {
      return Fail(absl::NotFoundError(reference + " is not here for " + *platform));
    }
    steps = StepsOf(*variant);
  } catch (const Json::exception&) {
    // Values of other types than they should have; the configuration is a stranger's.
    return Fail(absl::InvalidArgumentError("the image's history can't be understood"));
  }
  if (quiet) {
    for (const Json& step : steps) {
      const std::string layer = step["layer"].get<std::string>();
      if (!layer.empty()) PrintLine(whole ? layer : ShortDigest(layer));
    }
    return kSuccess;
  }
  if (format != Format::kTable) {
    Print(FormatAs(format, steps, "history"));
    return kSuccess;
  }
  Table table({"LAYER", "CREATED", "SIZE", "CREATED BY"});
  for (const Json& step : steps) {
    const std::string layer = step["layer"].get<std::string>();
    std::string command = step["createdBy"].get<std::string>();
    for (char& c : command) {
      if (static_cast<unsigned char>(c) < ' ' || c == 0x7f) c = ' ';
    }
    if (!whole && command.size() > kShownCommandLength) {
      size_t end = kShownCommandLength - 1;
      while (end > 0 && (static_cast<unsigned char>(command[end]) & 0xc0) == 0x80) --end;
      command = command.substr(0, end) + "…";
    }
    table.Add({whole ? layer : ShortDigest(layer), AgeOf(step["created"].get<std::string>()),
               base::FormatSize(step["size"].get<int64_t>()), command});
  }
  Print(table.Render());
  return kSuccess;
}

}  // namespace container::cli
