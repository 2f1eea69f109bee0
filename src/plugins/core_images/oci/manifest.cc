#include "plugins/core_images/oci/manifest.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "plugins/core_images/oci/digest.h"

namespace container::oci {
namespace {

using nlohmann::json;

absl::Status Malformed(absl::string_view why) {
  return absl::InvalidArgumentError(std::string(why));
}

// A member that must be a string where it is there at all.
absl::StatusOr<std::string> OptionalString(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return std::string();
  if (!found->is_string()) return Malformed(absl::StrCat("'", key, "' is not a string"));
  return found->get<std::string>();
}

absl::StatusOr<std::vector<Descriptor>> DescriptorList(const json& object, const char* key,
                                                       size_t limit) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_array()) {
    return Malformed(absl::StrCat("'", key, "' is not a list"));
  }
  if (found->size() > limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat("'", key, "' has ", found->size(), " entries, more than ", limit));
  }
  std::vector<Descriptor> list;
  list.reserve(found->size());
  for (const json& item : *found) {
    ASSIGN_OR_RETURN(Descriptor descriptor, Descriptor::FromJson(item),
                     absl::StrCat(key, "[", list.size(), "]"));
    list.push_back(std::move(descriptor));
  }
  return list;
}

absl::StatusOr<Platform> PlatformFromJson(const json& object) {
  if (!object.is_object()) return Malformed("'platform' is not an object");
  Platform platform;
  ASSIGN_OR_RETURN(platform.os, OptionalString(object, "os"));
  ASSIGN_OR_RETURN(platform.architecture, OptionalString(object, "architecture"));
  ASSIGN_OR_RETURN(platform.variant, OptionalString(object, "variant"));
  return platform;
}

}  // namespace

bool IsIndexType(absl::string_view media_type) {
  return media_type == kOciIndex || media_type == kDockerIndex;
}

bool IsManifestType(absl::string_view media_type) {
  return media_type == kOciManifest || media_type == kDockerManifest;
}

absl::StatusOr<json> ParseJson(absl::string_view text, size_t limit_bytes) {
  if (text.size() > limit_bytes) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the document has ", text.size(), " bytes, more than ", limit_bytes));
  }
  bool too_deep = false;
  const auto watch = [&](int depth, json::parse_event_t, json&) {
    too_deep = too_deep || depth > kJsonDepthLimit;
    return !too_deep;
  };
  try {
    json document = json::parse(text.begin(), text.end(), watch);
    if (too_deep) return Malformed("the JSON is nested too deeply");
    return document;
  } catch (const json::exception& error) {
    return Malformed(absl::StrCat("not valid JSON: ", error.what()));
  }
}

json Descriptor::ToJson() const {
  json object = {{"mediaType", media_type}, {"digest", digest}, {"size", size_bytes}};
  if (!annotations.empty()) object["annotations"] = annotations;
  if (platform.has_value()) {
    json& value = object["platform"];
    value = {{"os", platform->os}, {"architecture", platform->architecture}};
    if (!platform->variant.empty()) value["variant"] = platform->variant;
  }
  return object;
}

absl::StatusOr<Descriptor> Descriptor::FromJson(const json& object) {
  if (!object.is_object()) return Malformed("a descriptor is not an object");
  Descriptor result;
  ASSIGN_OR_RETURN(result.media_type, OptionalString(object, "mediaType"));
  ASSIGN_OR_RETURN(result.digest, OptionalString(object, "digest"));
  RETURN_IF_ERROR(CheckDigest(result.digest));
  const auto size = object.find("size");
  if (size == object.end() || !size->is_number_integer()) {
    return Malformed("'size' of a descriptor is not a whole number");
  }
  if ((size->is_number_unsigned() && size->get<uint64_t>() > INT64_MAX) ||
      size->get<int64_t>() < 0) {
    return Malformed("'size' of a descriptor is out of range");
  }
  result.size_bytes = size->get<int64_t>();
  if (const auto found = object.find("annotations"); found != object.end() && !found->is_null()) {
    if (!found->is_object()) return Malformed("'annotations' is not an object");
    for (const auto& [key, value] : found->items()) {
      if (!value.is_string()) return Malformed("an annotation is not a string");
      result.annotations.emplace(key, value.get<std::string>());
    }
  }
  if (const auto found = object.find("platform"); found != object.end() && !found->is_null()) {
    ASSIGN_OR_RETURN(result.platform, PlatformFromJson(*found));
  }
  return result;
}

bool Descriptor::IsAttestation() const {
  if (annotations.contains("vnd.docker.reference.type")) return true;
  return platform.has_value() && platform->os == "unknown" && platform->architecture == "unknown";
}

absl::StatusOr<Document> ParseDocument(absl::string_view text, absl::string_view media_type) {
  ASSIGN_OR_RETURN(const json document, ParseJson(text, kManifestLimitBytes));
  if (!document.is_object()) return Malformed("the document is not an object");
  ASSIGN_OR_RETURN(std::string type, OptionalString(document, "mediaType"));
  const auto version = document.find("schemaVersion");
  if (version == document.end() || !version->is_number_integer()) {
    return Malformed("'schemaVersion' is missing");
  }
  if (version->get<int64_t>() == 1) {
    return absl::UnimplementedError(
        "the image has a docker schema 1 manifest, a format that was given up in 2019: push it "
        "again with a current tool");
  }
  if (version->get<int64_t>() != 2) return Malformed("'schemaVersion' is not 2");
  const bool has_manifests = document.contains("manifests");
  const bool has_layers = document.contains("layers");
  // Two readers must never see two different images in one document (CVE-2021-41190).
  if (has_manifests && (has_layers || document.contains("config"))) {
    return Malformed("the document is a manifest and an index at once");
  }
  const bool said_type = IsIndexType(media_type) || IsManifestType(media_type);
  if (said_type && !type.empty() && type != media_type) {
    return Malformed(
        absl::StrCat("the document says it is '", type, "', its descriptor '", media_type, "'"));
  }
  if (type.empty()) {
    type = said_type ? std::string(media_type) : has_manifests ? kOciIndex : kOciManifest;
  }
  if (IsIndexType(type)) {
    Index index;
    index.media_type = type;
    ASSIGN_OR_RETURN(index.manifests, DescriptorList(document, "manifests", kIndexEntryLimit));
    return Document(std::move(index));
  }
  if (!IsManifestType(type)) {
    return Malformed(absl::StrCat("'", type.substr(0, 120), "' is no image manifest"));
  }
  if (!has_layers) return Malformed("'layers' is missing");
  Manifest manifest;
  manifest.media_type = type;
  const auto config = document.find("config");
  if (config == document.end()) return Malformed("'config' is missing");
  ASSIGN_OR_RETURN(manifest.config, Descriptor::FromJson(*config), "config");
  if (manifest.config.media_type != kOciConfig && manifest.config.media_type != kDockerConfig) {
    return absl::FailedPreconditionError(
        absl::StrCat("this is no container image: its configuration is of type '",
                     manifest.config.media_type.substr(0, 120), "'"));
  }
  if (manifest.config.size_bytes > static_cast<int64_t>(kConfigLimitBytes)) {
    return absl::ResourceExhaustedError("the image's configuration is too large");
  }
  ASSIGN_OR_RETURN(manifest.layers, DescriptorList(document, "layers", kLayerLimit));
  for (const Descriptor& layer : manifest.layers) {
    if (absl::StrContains(layer.media_type, "foreign") ||
        absl::StrContains(layer.media_type, "nondistributable")) {
      return absl::UnimplementedError(absl::StrCat("layer ", ShortDigest(layer.digest),
                                                   " is not in the registry (a foreign layer)"));
    }
    if (absl::StrContains(layer.media_type, "encrypted")) {
      return absl::UnimplementedError(
          absl::StrCat("layer ", ShortDigest(layer.digest), " is encrypted"));
    }
  }
  return Document(std::move(manifest));
}

absl::StatusOr<ImageConfig> ParseConfig(absl::string_view text) {
  ImageConfig result;
  ASSIGN_OR_RETURN(result.json, ParseJson(text, kConfigLimitBytes));
  if (!result.json.is_object()) return Malformed("the image's configuration is not an object");
  ASSIGN_OR_RETURN(result.platform, PlatformFromJson(result.json));
  ASSIGN_OR_RETURN(result.created, OptionalString(result.json, "created"));
  const auto rootfs = result.json.find("rootfs");
  if (rootfs == result.json.end() || !rootfs->is_object()) {
    return Malformed("the image's configuration has no 'rootfs'");
  }
  const auto diff_ids = rootfs->find("diff_ids");
  // An image without layers may have null here.
  if (diff_ids == rootfs->end() || diff_ids->is_null()) return result;
  if (!diff_ids->is_array() || diff_ids->size() > kLayerLimit) {
    return Malformed("'rootfs.diff_ids' is not a list of digests");
  }
  for (const json& item : *diff_ids) {
    if (!item.is_string()) return Malformed("'rootfs.diff_ids' is not a list of digests");
    RETURN_IF_ERROR(CheckDigest(item.get_ref<const std::string&>()), "rootfs.diff_ids");
    result.diff_ids.push_back(item.get<std::string>());
  }
  return result;
}

std::vector<Descriptor> SelectManifests(const Index& index, const Platform& wanted) {
  const std::vector<Platform> ladder = PlatformsRunBy(wanted);
  std::vector<std::pair<size_t, Descriptor>> ranked;
  for (const Descriptor& entry : index.manifests) {
    if (entry.IsAttestation()) continue;
    if (!IsIndexType(entry.media_type) && !IsManifestType(entry.media_type)) continue;
    size_t rank = ladder.size();
    if (entry.platform.has_value()) {
      const auto found = std::find(ladder.begin(), ladder.end(), entry.platform->Normalized());
      if (found == ladder.end()) continue;
      rank = found - ladder.begin();
    }
    ranked.emplace_back(rank, entry);
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<Descriptor> result;
  for (auto& [rank, entry] : ranked) result.push_back(std::move(entry));
  return result;
}

std::string OfferedPlatforms(const Index& index) {
  std::vector<std::string> names;
  for (const Descriptor& entry : index.manifests) {
    if (entry.IsAttestation() || !entry.platform.has_value() || names.size() == 16) continue;
    std::string name = entry.platform->Normalized().ToString();
    if (std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(std::move(name));
    }
  }
  return names.empty() ? "none" : absl::StrJoin(names, ", ");
}

std::string ChainIdHex(const std::vector<std::string>& diff_ids) {
  if (diff_ids.empty()) return std::string(DigestHex(Sha256Digest("")));
  std::string chain = diff_ids[0];
  for (size_t i = 1; i < diff_ids.size(); ++i) {
    chain = Sha256Digest(absl::StrCat(chain, " ", diff_ids[i]));
  }
  return std::string(DigestHex(chain));
}

}  // namespace container::oci
