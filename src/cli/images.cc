#include "cli/images.h"

#include <chrono>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/units.h"
#include "model/system_config.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string Text(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

const Json& Member(const Json& object, const char* key) {
  static const Json& none = *new Json();
  if (!object.is_object()) return none;
  const auto found = object.find(key);
  return found == object.end() ? none : *found;
}

int64_t Number(const Json& object, const char* key) {
  const Json& member = Member(object, key);
  return member.is_number_integer() ? member.get<int64_t>() : 0;
}

std::string PlatformText(const Json& platform) {
  if (platform.is_string()) return platform.get<std::string>();
  std::string text = absl::StrCat(Text(platform, "os"), "/", Text(platform, "architecture"));
  if (const std::string variant = Text(platform, "variant"); !variant.empty()) {
    absl::StrAppend(&text, "/", variant);
  }
  return text;
}

/// Whether names without a registry lead to docker.io; where they don't, only whole names are
/// clear.
bool HasUsualDomain() {
  static const bool usual = [] {
    const auto config = model::SystemConfig::Load();
    return !config.ok() || config->registry_domain == model::SystemConfig().registry_domain;
  }();
  return usual;
}

/// "docker.io/library/alpine:latest" is what everybody calls alpine, latest.
void SplitName(absl::string_view name, std::string& repository, std::string& tag) {
  const size_t at = name.find('@');
  name = name.substr(0, at);
  const size_t colon = name.rfind(':');
  if (colon != absl::string_view::npos && name.find('/', colon) == absl::string_view::npos) {
    tag = std::string(name.substr(colon + 1));
    name = name.substr(0, colon);
  }
  if (HasUsualDomain() && absl::ConsumePrefix(&name, "docker.io/")) {
    absl::ConsumePrefix(&name, "library/");
  }
  repository = std::string(name);
}

}  // namespace

absl::StatusOr<ImageSummary> SummarizeImage(absl::string_view object_json) {
  const Json object = Json::parse(object_json.begin(), object_json.end(), nullptr, false);
  const Json& configuration = Member(object, "configuration");
  ImageSummary summary;
  summary.name = Text(configuration, "name");
  if (summary.name.empty()) {
    return absl::InvalidArgumentError("the image service sent an object that is no image");
  }
  SplitName(summary.name, summary.repository, summary.tag);
  summary.digest = Text(Member(configuration, "descriptor"), "digest");
  summary.creation_date = Text(configuration, "creationDate");
  for (const Json& variant : Member(object, "variants")) {
    summary.variants.push_back({PlatformText(Member(variant, "platform")), Text(variant, "digest"),
                                Number(variant, "size")});
  }
  return summary;
}

std::string ShortDigest(absl::string_view digest) {
  const size_t colon = digest.find(':');
  if (colon != absl::string_view::npos) digest.remove_prefix(colon + 1);
  return std::string(digest.substr(0, 12));
}

absl::StatusOr<Json> ParseObjects(const std::vector<std::string>& objects) {
  Json array = Json::array();
  for (const std::string& text : objects) {
    Json object = Json::parse(text, nullptr, false);
    if (object.is_discarded()) {
      return absl::InternalError("container-apiserver sent an object that is not JSON");
    }
    array.push_back(std::move(object));
  }
  return array;
}

std::string AgeOf(absl::string_view timestamp) {
  const auto time = base::ParseTimestamp(timestamp);
  if (!time.ok()) return "";
  return base::FormatAge(std::chrono::system_clock::now() - *time);
}

}  // namespace container::cli
