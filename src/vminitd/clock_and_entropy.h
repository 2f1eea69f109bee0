// What a guest can't know by itself: the time, and randomness.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace container::vminitd {

/// Steps the wall clock to `nanoseconds` since the epoch; INVALID_ARGUMENT before 2020.
absl::Status SetWallClock(int64_t nanoseconds);

/// Credits `entropy` to the kernel's pool and makes its generator start anew from it, so that no
/// two guests of one template ever draw the same numbers. INVALID_ARGUMENT below 32 bytes, or
/// above 4096.
absl::Status AddEntropy(const std::string& entropy);

}  // namespace container::vminitd
