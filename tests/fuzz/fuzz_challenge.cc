// The Www-Authenticate header.

#include <cstddef>
#include <cstdint>

#include "plugins/core_images/oci/challenge.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  container::oci::ParseChallenges(absl::string_view(reinterpret_cast<const char*>(data), size));
  return 0;
}
