// Image objects (the JSON of `container image inspect`) as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace container::cli {

struct ImageVariant {
  std::string platform;  // "linux/arm64/v8"
  std::string digest;
  int64_t size_bytes = 0;
};

struct ImageSummary {
  std::string name;           // "docker.io/library/alpine:latest"
  std::string repository;     // "alpine"
  std::string tag;            // "latest"; "" if the name has a digest only
  std::string digest;         // "sha256:…"
  std::string creation_date;  // RFC 3339 or ""
  std::vector<ImageVariant> variants;
};

/// INVALID_ARGUMENT if it is no such object.
absl::StatusOr<ImageSummary> SummarizeImage(absl::string_view object_json);

/// "3b5c28c7b2a1" of "sha256:3b5c28c7b2a1…".
std::string ShortDigest(absl::string_view digest);

/// Parses objects into one array.
absl::StatusOr<nlohmann::ordered_json> ParseObjects(const std::vector<std::string>& objects);

/// "5 minutes ago" of an RFC 3339 time; "" where that is empty or malformed.
std::string AgeOf(absl::string_view timestamp);

}  // namespace container::cli
