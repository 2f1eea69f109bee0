// Flattens a variant's layers into the store's root file system for their chain id.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "plugins/core_images/archive/source.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/images/resolve.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

/// Called before layer `index` (from 0, the lowest) is read; returns when its blob is in the store.
using LayerReady = std::function<absl::Status(size_t index)>;
/// Returns what layer `index` is read from while its blob is still on its way, or null to wait for
/// LayerReady and read the blob.
using LayerArriving = std::function<absl::StatusOr<std::unique_ptr<archive::Source>>(size_t index)>;

/// Returns the path of the root, which is built if it is not there yet. `lease` pins it. Every
/// layer's diff_id is verified: DATA_LOSS names the layer that is not what the configuration says.
/// CANCELLED when `cancelled` turns true. Two calls for one root share one build.
absl::StatusOr<std::string> BuildRoot(store::ContentStore& store, store::Lease& lease,
                                      const Variant& variant, const LayerReady& layer_ready,
                                      Reporter& reporter, const Cancelled& cancelled,
                                      const LayerArriving& layer_arriving = nullptr);

}  // namespace container::images
