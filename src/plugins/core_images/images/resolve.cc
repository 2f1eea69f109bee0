#include "plugins/core_images/images/resolve.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plugins/core_images/oci/digest.h"

namespace container::images {
namespace {

// An index of indexes could otherwise make us fetch thousands of documents.
constexpr int kDocumentLimit = 64;

// Reads the configuration and checks that it fits the manifest.
absl::StatusOr<Variant> CompleteVariant(const DocumentSource& source,
                                        const oci::Descriptor& descriptor, oci::Manifest manifest) {
  Variant variant;
  variant.descriptor = descriptor;
  if (variant.descriptor.media_type.empty()) variant.descriptor.media_type = manifest.media_type;
  ASSIGN_OR_RETURN(const std::string text, source(manifest.config, oci::kConfigLimitBytes),
                   "get the image's configuration");
  ASSIGN_OR_RETURN(variant.config, oci::ParseConfig(text), "read the image's configuration");
  if (variant.config.diff_ids.size() != manifest.layers.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the image's manifest has ", manifest.layers.size(),
                     " layers, its configuration ", variant.config.diff_ids.size()));
  }
  variant.platform =
      (descriptor.platform.has_value() ? *descriptor.platform : variant.config.platform)
          .Normalized();
  variant.manifest = std::move(manifest);
  return variant;
}

class Resolver {
 public:
  Resolver(const DocumentSource& source, const oci::Platform& wanted)
      : source_(source), wanted_(wanted) {}

  absl::StatusOr<Variant> Resolve(const oci::Descriptor& descriptor, int depth) {
    if (depth > oci::kIndexDepthLimit || ++documents_ > kDocumentLimit) {
      return absl::ResourceExhaustedError("the image's indexes are nested too deeply");
    }
    ASSIGN_OR_RETURN(const std::string text, source_(descriptor, oci::kManifestLimitBytes));
    ASSIGN_OR_RETURN(oci::Document document, oci::ParseDocument(text, descriptor.media_type),
                     absl::StrCat("read manifest ", oci::ShortDigest(descriptor.digest)));
    if (auto* manifest = std::get_if<oci::Manifest>(&document)) {
      ASSIGN_OR_RETURN(Variant variant, CompleteVariant(source_, descriptor, std::move(*manifest)));
      const bool unknown = variant.platform.os.empty() || variant.platform.architecture.empty();
      if (unknown) variant.platform = wanted_;
      if (!unknown && oci::BestMatch(wanted_, {variant.platform}) < 0) {
        return absl::FailedPreconditionError(absl::StrCat(
            "the image is for ", variant.platform.ToString(), ", not for ", wanted_.ToString()));
      }
      return variant;
    }
    const auto& index = std::get<oci::Index>(document);
    absl::Status missing;
    for (const oci::Descriptor& entry : oci::SelectManifests(index, wanted_)) {
      absl::StatusOr<Variant> variant = Resolve(entry, depth + 1);
      if (variant.ok()) return variant;
      if (absl::IsNotFound(variant.status())) {
        missing.Update(variant.status());
      } else if (!absl::IsFailedPrecondition(variant.status())) {
        return variant;
      }
    }
    if (!missing.ok()) return missing;
    return absl::FailedPreconditionError(absl::StrCat("the image has no variant for ",
                                                      wanted_.ToString(),
                                                      "; it has: ", oci::OfferedPlatforms(index)));
  }

 private:
  const DocumentSource& source_;
  const oci::Platform& wanted_;
  int documents_ = 0;
};

void CollectVariants(store::ContentStore& store, const DocumentSource& source,
                     const oci::Descriptor& descriptor, int depth, std::vector<Variant>& result) {
  if (depth > oci::kIndexDepthLimit) return;
  const absl::StatusOr<std::string> text = source(descriptor, oci::kManifestLimitBytes);
  if (!text.ok()) return;
  absl::StatusOr<oci::Document> document = oci::ParseDocument(*text, descriptor.media_type);
  if (!document.ok()) return;
  if (const auto* index = std::get_if<oci::Index>(&*document)) {
    for (const oci::Descriptor& entry : index->manifests) {
      if (!entry.IsAttestation()) CollectVariants(store, source, entry, depth + 1, result);
    }
    return;
  }
  absl::StatusOr<Variant> variant =
      CompleteVariant(source, descriptor, std::get<oci::Manifest>(*std::move(document)));
  if (!variant.ok()) return;
  const bool complete =
      std::all_of(variant->manifest.layers.begin(), variant->manifest.layers.end(),
                  [&](const oci::Descriptor& layer) {
                    return store.Has(layer.digest, layer.size_bytes).value_or(false);
                  });
  if (complete) result.push_back(*std::move(variant));
}

}  // namespace

absl::StatusOr<Variant> ResolveVariant(const DocumentSource& source, const oci::Descriptor& top,
                                       const oci::Platform& wanted) {
  return Resolver(source, wanted).Resolve(top, 0);
}

DocumentSource FromStore(const store::ContentStore& store) {
  return [&store](const oci::Descriptor& descriptor, size_t limit_bytes) {
    return store.ReadBlob(descriptor, limit_bytes);
  };
}

std::vector<Variant> LocalVariants(store::ContentStore& store, const oci::Descriptor& top) {
  std::vector<Variant> result;
  CollectVariants(store, FromStore(store), top, 0, result);
  return result;
}

}  // namespace container::images
