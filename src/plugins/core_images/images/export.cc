#include "plugins/core_images/images/export.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plugins/core_images/oci/reference.h"

namespace container::images {
namespace {

class Planner {
 public:
  Planner(store::ContentStore& store, store::Lease& lease) : store_(store), lease_(lease) {}

  // Adds a manifest with its configuration and layers.
  absl::Status AddVariant(const Variant& variant) {
    if (!documents_.insert(variant.descriptor.digest).second) return absl::OkStatus();
    std::vector<oci::Descriptor> blobs = variant.manifest.layers;
    blobs.push_back(variant.manifest.config);
    for (const oci::Descriptor& blob : blobs) {
      if (!blobs_.insert(blob.digest).second) continue;
      lease_.PinBlob(blob.digest);
      ASSIGN_OR_RETURN(const bool present, store_.Has(blob.digest, blob.size_bytes));
      if (!present) return absl::NotFoundError(absl::StrCat("blob ", blob.digest, " is missing"));
      plan_.blobs.push_back(blob);
    }
    RETURN_IF_ERROR(AddDocument(variant.descriptor));
    plan_.variants.push_back(variant);
    return absl::OkStatus();
  }

  // Adds an index behind the indexes in it. False if something that it names is not here.
  absl::StatusOr<bool> AddIndexes(const oci::Descriptor& descriptor, int depth) {
    if (!oci::IsIndexType(descriptor.media_type) || depth > oci::kIndexDepthLimit) {
      return documents_.contains(descriptor.digest);
    }
    if (documents_.contains(descriptor.digest)) return true;
    const auto text = store_.ReadBlob(descriptor, oci::kManifestLimitBytes);
    if (absl::IsNotFound(text.status())) return false;
    RETURN_IF_ERROR(text.status());
    ASSIGN_OR_RETURN(const oci::Document document,
                     oci::ParseDocument(*text, descriptor.media_type));
    bool complete = true;
    for (const oci::Descriptor& entry : std::get<oci::Index>(document).manifests) {
      ASSIGN_OR_RETURN(const bool has_entry, AddIndexes(entry, depth + 1));
      complete = complete && has_entry;
    }
    documents_.insert(descriptor.digest);
    RETURN_IF_ERROR(AddDocument(descriptor));
    return complete;
  }

  // In place of an index of which not all is here.
  absl::Status ReplaceIndex() {
    std::vector<Variant>& variants = plan_.variants;
    std::erase_if(plan_.documents, [](const ExportDocument& document) {
      return oci::IsIndexType(document.descriptor.media_type);
    });
    if (variants.size() == 1) {
      plan_.top = variants[0].descriptor;
      return absl::OkStatus();
    }
    nlohmann::json manifests = nlohmann::json::array();
    for (const Variant& variant : variants) {
      oci::Descriptor entry = variant.descriptor;
      if (!entry.platform.has_value()) entry.platform = variant.config.platform;
      manifests.push_back(entry.ToJson());
    }
    const bool is_docker = plan_.top.media_type == oci::kDockerIndex;
    ExportDocument index;
    index.descriptor.media_type = is_docker ? oci::kDockerIndex : oci::kOciIndex;
    index.body = nlohmann::json{{"schemaVersion", 2},
                                {"mediaType", index.descriptor.media_type},
                                {"manifests", std::move(manifests)}}
                     .dump();
    index.descriptor.digest = oci::Sha256Digest(index.body);
    index.descriptor.size_bytes = static_cast<int64_t>(index.body.size());
    plan_.top = index.descriptor;
    plan_.documents.push_back(std::move(index));
    return absl::OkStatus();
  }

  Export& plan() { return plan_; }

 private:
  absl::Status AddDocument(const oci::Descriptor& descriptor) {
    lease_.PinBlob(descriptor.digest);
    ASSIGN_OR_RETURN(std::string body, store_.ReadBlob(descriptor, oci::kManifestLimitBytes));
    plan_.documents.push_back({descriptor, std::move(body)});
    return absl::OkStatus();
  }

  store::ContentStore& store_;
  store::Lease& lease_;
  Export plan_;
  std::set<std::string> documents_;
  std::set<std::string> blobs_;
};

}  // namespace

absl::StatusOr<Export> PlanExport(store::ContentStore& store, store::Lease& lease,
                                  const store::NamedImage& image,
                                  const std::optional<oci::Platform>& platform, ExportIndex index) {
  Planner planner(store, lease);
  const std::string name = oci::FamiliarName(image.name);
  if (platform.has_value()) {
    const auto variant = ResolveVariant(FromStore(store), image.descriptor, *platform);
    absl::Status status = variant.status();
    if (status.ok()) status = planner.AddVariant(*variant);
    if (absl::IsNotFound(status)) {
      return absl::NotFoundError(absl::StrCat("image ", name, " is not here for ",
                                              platform->ToString(), ": pull it with --platform ",
                                              platform->ToString()));
    }
    RETURN_IF_ERROR(status, name);
    planner.plan().top = variant->descriptor;
    return std::move(planner.plan());
  }
  planner.plan().top = image.descriptor;
  for (const Variant& variant : LocalVariants(store, image.descriptor)) {
    RETURN_IF_ERROR(planner.AddVariant(variant), name);
  }
  if (planner.plan().variants.empty()) {
    return absl::NotFoundError(
        absl::StrCat("image ", name, " is not here for any platform: pull it again"));
  }
  ASSIGN_OR_RETURN(const bool complete, planner.AddIndexes(image.descriptor, 0), name);
  if (!complete && index == ExportIndex::kComplete) RETURN_IF_ERROR(planner.ReplaceIndex());
  return std::move(planner.plan());
}

}  // namespace container::images
