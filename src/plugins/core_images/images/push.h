// Sends an image to its registry: the layers and configurations side by side, then the manifests,
// and last what the name stands for.
//
// Blobs that the repository has are not sent, and such as another repository of the same registry
// is known to have (because an image here is named so) are mounted from there.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/oci/endpoint.h"
#include "plugins/core_images/oci/platform.h"
#include "plugins/core_images/oci/reference.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

struct PushOptions {
  std::string reference;  // a name in the store, which says where to
  std::string default_domain = std::string(oci::kDefaultDomain);  // of such a name
  /// Only this variant. Otherwise all that is here; where that is not the whole index, what is
  /// pushed has another digest than the index.
  std::optional<oci::Platform> platform;
  oci::RegistryOptions registry;
  int max_concurrent_uploads = 3;
};

/// The name, and what it stands for in the registry now. Threads: starts its own and joins them.
/// Errors: those of oci/upload.h, NOT_FOUND (no such image here, or not for the platform).
absl::StatusOr<store::NamedImage> Push(store::ContentStore& store, const PushOptions& options,
                                       Reporter& reporter, const Cancelled& cancelled);

}  // namespace container::images
