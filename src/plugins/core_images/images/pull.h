// Fetches an image from its registry into the store and readies its root file system: layers are
// downloaded side by side while those that have come are unpacked, the lowest first.
//
// Until the last step nothing has a name; what was fetched stays in the store when a later step
// fails, even half of a layer, so that the next pull goes on from there.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/oci/platform.h"
#include "plugins/core_images/oci/reference.h"
#include "plugins/core_images/oci/registry.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

struct PullOptions {
  oci::Reference reference;
  oci::Platform platform;
  oci::RegistryOptions registry;
  int max_concurrent_downloads = 3;
};

/// Threads: starts its own and joins them. Errors: those of oci/registry.h, resolve.h and
/// root_builder.h.
absl::StatusOr<store::NamedImage> Pull(store::ContentStore& store, const PullOptions& options,
                                       Reporter& reporter, const Cancelled& cancelled);

}  // namespace container::images
