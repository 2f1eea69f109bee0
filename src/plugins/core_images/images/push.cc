#include "plugins/core_images/images/push.h"

#include <atomic>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plugins/core_images/images/catalog.h"
#include "plugins/core_images/images/export.h"
#include "plugins/core_images/images/parallel.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/reference.h"
#include "plugins/core_images/oci/upload.h"

namespace container::images {
namespace {

// Registries refuse a mount quickly, but each attempt is a round trip.
constexpr size_t kMountLimit = 2;

// Which other repositories of the registry should have a blob, by digest.
std::map<std::string, std::set<std::string>> OtherRepositories(store::ContentStore& store,
                                                               const oci::Reference& target) {
  std::map<std::string, std::set<std::string>> result;
  for (const store::NamedImage& image : store.List()) {
    const absl::StatusOr<oci::Reference> other = oci::Reference::Parse(image.name);
    if (!other.ok() || other->domain != target.domain || other->path == target.path) continue;
    for (const Variant& variant : LocalVariants(store, image.descriptor)) {
      result[variant.manifest.config.digest].insert(other->path);
      for (const oci::Descriptor& layer : variant.manifest.layers) {
        result[layer.digest].insert(other->path);
      }
    }
  }
  return result;
}

}  // namespace

absl::StatusOr<store::NamedImage> Push(store::ContentStore& store, const PushOptions& options,
                                       Reporter& reporter, const Cancelled& cancelled) {
  std::atomic<bool> abandoned = false;
  const Cancelled stopped = [&] { return abandoned.load() || (cancelled && cancelled()); };
  const std::unique_ptr<store::Lease> lease = store.NewLease();
  ASSIGN_OR_RETURN(const oci::Reference reference,
                   oci::Reference::Parse(options.reference, options.default_domain));
  ASSIGN_OR_RETURN(const store::NamedImage image,
                   FindImage(store, options.reference, options.default_domain));
  ASSIGN_OR_RETURN(const Export plan,
                   PlanExport(store, *lease, image, options.platform, ExportIndex::kComplete));
  oci::RegistryPusher registry(reference, options.registry, stopped);
  const auto others = OtherRepositories(store, reference);

  const auto push_blob = [&](size_t index) -> absl::Status {
    const oci::Descriptor& blob = plan.blobs[index];
    ProgressEvent event;
    event.task_id = oci::ShortDigest(blob.digest);
    event.description = absl::StrCat("Pushing blob ", index + 1, " of ", plan.blobs.size());
    event.total_bytes = blob.size_bytes;
    reporter.Report(event);
    ASSIGN_OR_RETURN(const base::Fd file, store.OpenBlob(blob.digest));
    std::vector<std::string> mount_from;
    if (const auto found = others.find(blob.digest); found != others.end()) {
      for (const std::string& path : found->second) {
        if (mount_from.size() < kMountLimit) mount_from.push_back(path);
      }
    }
    const auto result = registry.PutBlob(blob, file.get(), mount_from, [&](int64_t sent_bytes) {
      event.completed_bytes = sent_bytes;
      reporter.Report(event);
    });
    RETURN_IF_ERROR(result.status(), absl::StrCat("push blob ", oci::ShortDigest(blob.digest)));
    event.completed_bytes = blob.size_bytes;
    event.done = true;
    reporter.Report(event);
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(RunParallel(plan.blobs.size(), options.max_concurrent_uploads, push_blob,
                              [&] { abandoned = true; }));

  ProgressEvent event;
  event.task_id = "manifest";
  event.description = "Pushing manifest";
  reporter.Report(event);
  for (const ExportDocument& document : plan.documents) {
    if (document.descriptor.digest == plan.top.digest) continue;
    RETURN_IF_ERROR(
        registry.PutManifest(document.descriptor.digest, document.descriptor, document.body));
  }
  for (const ExportDocument& document : plan.documents) {
    if (document.descriptor.digest != plan.top.digest) continue;
    const std::string& name = reference.tag.empty() ? plan.top.digest : reference.tag;
    RETURN_IF_ERROR(registry.PutManifest(name, document.descriptor, document.body));
  }
  event.done = true;
  reporter.Report(event);
  return store::NamedImage{reference.Normalized(), plan.top};
}

}  // namespace container::images
