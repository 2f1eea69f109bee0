// What an image consists of, in the order in which it can be given to others.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/core_images/images/resolve.h"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/platform.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

struct ExportDocument {
  oci::Descriptor descriptor;
  std::string body;
};

struct Export {
  oci::Descriptor top;
  std::vector<ExportDocument> documents;  // manifests and indexes; what refers to others comes last
  std::vector<oci::Descriptor> blobs;     // layers and configurations, each once
  std::vector<Variant> variants;          // that are here with all their layers
};

enum class ExportIndex {
  kAsItIs,   // also where the store lacks some of its platforms
  kComplete  // a new one of those that are here; of a single one, its manifest
};

/// Everything of `image` that is in the store, or of its variant for `platform`; `lease` pins it.
/// NOT_FOUND if there is nothing (for that platform).
absl::StatusOr<Export> PlanExport(store::ContentStore& store, store::Lease& lease,
                                  const store::NamedImage& image,
                                  const std::optional<oci::Platform>& platform, ExportIndex index);

}  // namespace container::images
