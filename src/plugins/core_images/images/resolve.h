// From what a name stands for to the one manifest and configuration for a platform.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/platform.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

/// An image for one platform.
struct Variant {
  oci::Descriptor descriptor;  // of the manifest
  oci::Manifest manifest;
  oci::ImageConfig config;
  oci::Platform platform;  // normalized
};

/// Gives the content of a manifest, index or configuration: from the store, or fetched.
using DocumentSource =
    std::function<absl::StatusOr<std::string>(const oci::Descriptor&, size_t limit_bytes)>;

/// The best variant of `top` for `wanted`. FAILED_PRECONDITION if the image has none (the message
/// says what it has); errors of `source` unchanged, but NOT_FOUND from one entry of an index gives
/// the next one its chance.
absl::StatusOr<Variant> ResolveVariant(const DocumentSource& source, const oci::Descriptor& top,
                                       const oci::Platform& wanted);

/// Documents as the store has them.
DocumentSource FromStore(const store::ContentStore& store);

/// All variants of `top` that are in the store with all their layers.
std::vector<Variant> LocalVariants(store::ContentStore& store, const oci::Descriptor& top);

}  // namespace container::images
