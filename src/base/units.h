// Sizes, durations and signals as people write them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace container::base {

/// "512", "64k", "1.5G", "2 GiB", "1gb": binary multiples whatever the spelling (K M G T P);
/// INVALID_ARGUMENT if malformed, negative or over 2^63-1.
absl::StatusOr<int64_t> ParseSizeBytes(absl::string_view text);

/// "3.4 MiB"; exact below 1 KiB.
std::string FormatSize(int64_t size_bytes);

/// "5 seconds ago", "2 hours ago", "3 weeks ago".
std::string FormatAge(std::chrono::system_clock::duration age);

/// "SIGTERM", "TERM", "term", "15" -> 15; INVALID_ARGUMENT otherwise. 1 to 64.
absl::StatusOr<int> ParseSignal(absl::string_view text);

/// RFC 3339 in UTC with nanoseconds where they are not zero: "2026-01-31T12:00:00.5Z".
std::string FormatTimestamp(std::chrono::system_clock::time_point time);
/// The reverse; any offset.
absl::StatusOr<std::chrono::system_clock::time_point> ParseTimestamp(absl::string_view text);

inline std::chrono::system_clock::time_point TimeFromNanoseconds(int64_t ns) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(
          std::chrono::nanoseconds(ns)));
}
inline int64_t NanosecondsOf(std::chrono::system_clock::time_point time) {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count();
}

}  // namespace container::base
