// References and platforms: whatever parses must print as something that parses to the same.

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "plugins/core_images/oci/credentials.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/platform.h"
#include "plugins/core_images/oci/reference.h"

using container::oci::Platform;
using container::oci::Reference;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto reference = Reference::Parse(text); reference.ok()) {
    const auto normalized = Reference::Parse(reference->Normalized());
    const auto familiar = Reference::Parse(reference->Familiar());
    if (!normalized.ok() || *normalized != *reference) std::abort();
    if (!familiar.ok() || *familiar != *reference) std::abort();
  }
  if (const auto platform = Platform::Parse(text); platform.ok()) {
    const auto again = Platform::Parse(platform->ToString());
    if (!again.ok() || *again != *platform) std::abort();
    container::oci::PlatformsRunBy(*platform);
  }
  if (container::oci::CheckDigest(text).ok()) container::oci::ShortDigest(text);
  container::oci::CanonicalRegistry(text).status().IgnoreError();
  return 0;
}
