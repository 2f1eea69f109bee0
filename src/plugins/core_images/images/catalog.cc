#include "plugins/core_images/images/catalog.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/units.h"
#include "plugins/core_images/images/root_builder.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::images {
namespace {

constexpr size_t kShortestDigest = 12;
constexpr char kUntaggedPrefix[] = "untagged@";  // as load.cc names what has no name

nlohmann::json PlatformJson(const oci::Platform& platform) {
  nlohmann::json json = {{"os", platform.os}, {"architecture", platform.architecture}};
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  return json;
}

// The digits of a whole or abbreviated digest, or "".
absl::string_view DigestDigits(absl::string_view text) {
  absl::ConsumePrefix(&text, oci::kSha256Prefix);
  const bool is_hex = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
  return is_hex && text.size() >= kShortestDigest && text.size() <= 64 ? text : "";
}

// All names whose digest starts with `digits`.
std::vector<store::NamedImage> FindByDigest(const store::ContentStore& store,
                                            absl::string_view digits) {
  std::vector<store::NamedImage> found;
  for (store::NamedImage& image : store.List()) {
    if (absl::StartsWith(oci::DigestHex(image.descriptor.digest), digits)) {
      found.push_back(std::move(image));
    }
  }
  return found;
}

absl::Status NoSuchImage(absl::string_view text) {
  return absl::NotFoundError(
      absl::StrCat("no such image: ", text, "; 'container image list' shows those that are here"));
}

// By name alone.
absl::StatusOr<std::optional<store::NamedImage>> FindByName(const store::ContentStore& store,
                                                            absl::string_view text,
                                                            absl::string_view default_domain) {
  if (auto image = store.Find(std::string(text))) return image;
  ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::Parse(text, default_domain));
  if (auto image = store.Find(reference.Normalized())) return image;
  if (reference.digest.empty()) return std::optional<store::NamedImage>();
  // Any tag of the repository that stands for the digest.
  for (store::NamedImage& image : store.List()) {
    if (image.descriptor.digest != reference.digest) continue;
    const absl::StatusOr<oci::Reference> other = oci::Reference::Parse(image.name);
    if (other.ok() && other->Repository() == reference.Repository() &&
        (reference.tag.empty() || reference.tag == other->tag)) {
      return std::optional(std::move(image));
    }
  }
  return std::optional<store::NamedImage>();
}

// Names and digests that are in use, names in any form.
std::set<std::string> InUse(const std::vector<std::string>& references,
                            const std::vector<std::string>& digests) {
  std::set<std::string> in_use(digests.begin(), digests.end());
  for (const std::string& text : references) {
    in_use.insert(text);
    const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(text);
    if (reference.ok()) in_use.insert(reference->Normalized());
  }
  return in_use;
}

}  // namespace

std::string ImageJson(store::ContentStore& store, const store::NamedImage& image) {
  nlohmann::json variants = nlohmann::json::array();
  std::optional<std::chrono::system_clock::time_point> created;
  for (Variant& variant : LocalVariants(store, image.descriptor)) {
    int64_t size_bytes = variant.descriptor.size_bytes + variant.manifest.config.size_bytes;
    nlohmann::json layers = nlohmann::json::array();
    for (const oci::Descriptor& layer : variant.manifest.layers) {
      size_bytes += layer.size_bytes;
      layers.push_back(layer.ToJson());
    }
    const auto time = base::ParseTimestamp(variant.config.created);
    if (time.ok() && (!created.has_value() || *time < *created)) created = *time;
    variants.push_back({{"platform", PlatformJson(variant.platform)},
                        {"digest", variant.descriptor.digest},
                        {"size", size_bytes},
                        {"config", std::move(variant.config.json)},
                        {"layers", std::move(layers)}});
  }
  const nlohmann::json document = {
      {"id", std::string(oci::DigestHex(image.descriptor.digest))},
      {"configuration",
       {{"name", image.name},
        {"creationDate",
         base::FormatTimestamp(created.value_or(std::chrono::system_clock::time_point()))},
        {"descriptor", image.descriptor.ToJson()}}},
      {"variants", std::move(variants)}};
  return document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

absl::StatusOr<store::NamedImage> FindImage(const store::ContentStore& store,
                                            absl::string_view text,
                                            absl::string_view default_domain) {
  const absl::string_view digits = DigestDigits(text);
  auto by_name = FindByName(store, text, default_domain);
  if (by_name.ok() && by_name->has_value()) return **std::move(by_name);
  if (digits.empty()) {
    RETURN_IF_ERROR(by_name.status());
    return NoSuchImage(text);
  }
  const std::vector<store::NamedImage> found = FindByDigest(store, digits);
  if (found.empty()) return NoSuchImage(text);
  for (const store::NamedImage& image : found) {
    if (image.descriptor.digest != found[0].descriptor.digest) {
      return absl::FailedPreconditionError(
          absl::StrCat("'", text, "' fits several images: give more digits"));
    }
  }
  return found[0];
}

absl::StatusOr<store::NamedImage> Tag(store::ContentStore& store, absl::string_view source,
                                      absl::string_view target, absl::string_view default_domain) {
  ASSIGN_OR_RETURN(const oci::Reference reference, oci::Reference::Parse(target, default_domain));
  if (!reference.digest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the new name '", target, "' must not have a digest"));
  }
  const std::unique_ptr<store::Lease> lease = store.NewLease();
  ASSIGN_OR_RETURN(store::NamedImage image, FindImage(store, source, default_domain));
  image.name = reference.Normalized();
  RETURN_IF_ERROR(store.Put({image}));
  return image;
}

absl::StatusOr<Deletion> Delete(store::ContentStore& store, absl::string_view text,
                                absl::string_view default_domain) {
  ASSIGN_OR_RETURN(const store::NamedImage image, FindImage(store, text, default_domain));
  const auto by_name = FindByName(store, text, default_domain);
  if (!by_name.ok() || !by_name->has_value()) {
    std::vector<std::string> names;
    for (const store::NamedImage& other :
         FindByDigest(store, oci::DigestHex(image.descriptor.digest))) {
      names.push_back(oci::FamiliarName(other.name));
    }
    if (names.size() > 1) {
      return absl::FailedPreconditionError(
          absl::StrCat("the image has several names: delete one of ", absl::StrJoin(names, ", ")));
    }
  }
  RETURN_IF_ERROR(store.Remove(image.name));
  Deletion result;
  result.name = image.name;
  absl::StatusOr<int64_t> freed_bytes = store.Sweep();
  result.sweep_status = freed_bytes.status();
  if (freed_bytes.ok()) result.reclaimed_bytes = *freed_bytes;
  return result;
}

absl::StatusOr<ImageUsage> DiskUsage(const store::ContentStore& store,
                                     const std::vector<std::string>& in_use_references,
                                     const std::vector<std::string>& in_use_digests) {
  const std::set<std::string> in_use = InUse(in_use_references, in_use_digests);
  ImageUsage usage;
  std::set<std::string> names;
  for (const store::NamedImage& image : store.List()) {
    ++usage.images;
    if (!in_use.contains(image.name) && !in_use.contains(image.descriptor.digest)) continue;
    ++usage.images_in_use;
    names.insert(image.name);
  }
  ASSIGN_OR_RETURN(usage.store, store.Usage(names));
  return usage;
}

absl::StatusOr<Pruned> Prune(store::ContentStore& store, const PruneOptions& options) {
  const std::set<std::string> in_use = InUse(options.in_use_references, options.in_use_digests);
  Pruned result;
  for (const store::NamedImage& image : store.List()) {
    const bool has_name = !absl::StartsWith(image.name, kUntaggedPrefix);
    if (has_name && !options.all) continue;
    if (in_use.contains(image.name) || in_use.contains(image.descriptor.digest)) continue;
    const absl::Status removed = store.Remove(image.name);
    if (absl::IsNotFound(removed)) continue;  // by somebody else, meanwhile
    RETURN_IF_ERROR(removed);
    result.names.push_back(image.name);
  }
  ASSIGN_OR_RETURN(const int64_t staged_bytes, store.SweepStaged());
  ASSIGN_OR_RETURN(const int64_t freed_bytes, store.Sweep());
  result.reclaimed_bytes = staged_bytes + freed_bytes;
  return result;
}

absl::StatusOr<Root> PrepareRoot(store::ContentStore& store, absl::string_view text,
                                 const oci::Platform& platform, Reporter& reporter,
                                 const Cancelled& cancelled, absl::string_view default_domain) {
  const std::unique_ptr<store::Lease> lease = store.NewLease();
  Root root;
  ASSIGN_OR_RETURN(root.image, FindImage(store, text, default_domain));
  absl::StatusOr<Variant> variant =
      ResolveVariant(FromStore(store), root.image.descriptor, platform);
  const auto not_here = [&]() {
    return absl::NotFoundError(absl::StrCat("image ", oci::FamiliarName(root.image.name),
                                            " is not here for ", platform.ToString(),
                                            ": pull it with --platform ", platform.ToString()));
  };
  if (absl::IsNotFound(variant.status())) return not_here();
  RETURN_IF_ERROR(variant.status(), oci::FamiliarName(root.image.name));
  for (const oci::Descriptor& layer : variant->manifest.layers) {
    lease->PinBlob(layer.digest);
    ASSIGN_OR_RETURN(const bool present, store.Has(layer.digest, layer.size_bytes));
    if (!present) return not_here();
  }
  ASSIGN_OR_RETURN(
      root.path,
      BuildRoot(
          store, *lease, *variant, [](size_t) { return absl::OkStatus(); }, reporter, cancelled),
      oci::FamiliarName(root.image.name));
  root.variant = *std::move(variant);
  return root;
}

}  // namespace container::images
