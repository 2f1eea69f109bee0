// Capabilities by name; capabilities(7).
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::vminitd {

/// How many capabilities Linux 6.12 knows; they are the bits 0 to this minus one.
inline constexpr int kCapabilityCount = 41;

/// The bit number of a name such as "CAP_CHOWN" (with its prefix, in capitals). INVALID_ARGUMENT
/// for any other.
absl::StatusOr<int> CapabilityNumber(absl::string_view name);

/// The set of `names`, a container of strings.
template <typename Names>
absl::StatusOr<uint64_t> CapabilityMask(const Names& names) {
  uint64_t mask = 0;
  for (const std::string& name : names) {
    absl::StatusOr<int> number = CapabilityNumber(name);
    if (!number.ok()) return number.status();
    mask |= uint64_t{1} << *number;
  }
  return mask;
}

}  // namespace container::vminitd
