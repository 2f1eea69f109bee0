// Manifests, indexes and configurations.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "plugins/core_images/oci/manifest.h"

namespace oci = container::oci;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  for (const char* type : {"", oci::kOciManifest, oci::kOciIndex}) {
    const auto document = oci::ParseDocument(text, type);
    if (!document.ok()) continue;
    if (const auto* index = std::get_if<oci::Index>(&*document)) {
      if (index->manifests.size() > oci::kIndexEntryLimit) std::abort();
      oci::SelectManifests(*index, oci::Platform::Host());
      oci::OfferedPlatforms(*index);
      for (const oci::Descriptor& descriptor : index->manifests) {
        const auto again = oci::Descriptor::FromJson(descriptor.ToJson());
        if (!again.ok() || *again != descriptor) std::abort();
        descriptor.ToJson().dump();
      }
    } else {
      const auto& manifest = std::get<oci::Manifest>(*document);
      if (manifest.layers.size() > oci::kLayerLimit) std::abort();
      for (const oci::Descriptor& layer : manifest.layers) {
        if (layer.size_bytes < 0) std::abort();
      }
    }
  }
  if (const auto config = oci::ParseConfig(text); config.ok()) {
    oci::ChainIdHex(config->diff_ids);
    config->platform.Normalized().ToString();
  }
  return 0;
}
