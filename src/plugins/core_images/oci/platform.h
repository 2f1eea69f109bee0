// What machine an image is for: "linux/amd64", "linux/arm64/v8".
//
// Source: OCI image specification, image-index.md, and the normal forms and fallbacks of
// github.com/containerd/platforms: an amd64 host runs lower micro-architecture levels and 386, an
// arm64 host lower variants and 32-bit arm.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::oci {

struct Platform {
  std::string os;
  std::string architecture;
  std::string variant;

  /// "os/arch[/variant]", "os" or "arch" alone (the rest is the host's). The result is normalized.
  /// INVALID_ARGUMENT otherwise.
  static absl::StatusOr<Platform> Parse(absl::string_view text);
  /// Of this machine, normalized.
  static Platform Host();

  /// The one spelling of each: x86_64 is amd64, aarch64 is arm64/v8, armhf is arm/v7.
  Platform Normalized() const;
  /// "linux/amd64", "linux/arm64/v8".
  std::string ToString() const;

  friend bool operator==(const Platform&, const Platform&) = default;
};

/// What a machine of platform `wanted` can run, the best first; starts with `wanted` itself.
std::vector<Platform> PlatformsRunBy(const Platform& wanted);

/// The index in `offered` of what suits `wanted` best (the first of equals), or -1.
int BestMatch(const Platform& wanted, const std::vector<Platform>& offered);

}  // namespace container::oci
