// Names of images: "alpine", "quay.io/org/app:1.2", "localhost:5000/app@sha256:…".
//
// Source: the grammar of github.com/distribution/reference, with the defaults that docker made
// habit: no domain means docker.io, a single path component there lies below library/, and neither
// tag nor digest means the tag "latest".
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::oci {

inline constexpr absl::string_view kDefaultDomain = "docker.io";
inline constexpr absl::string_view kDefaultTag = "latest";

struct Reference {
  std::string domain;  // "docker.io", "localhost:5000", "[::1]:5000"
  std::string path;    // "library/alpine"
  std::string tag;     // may be empty if there is a digest
  std::string digest;  // "sha256:…" or empty

  /// Parses what a user wrote; the result has all defaults filled in. `default_domain` is where a
  /// name without a registry leads, as CheckDefaultDomain gives it. INVALID_ARGUMENT says what is
  /// wrong.
  static absl::StatusOr<Reference> Parse(absl::string_view text,
                                         absl::string_view default_domain = kDefaultDomain);

  /// "docker.io/library/alpine:latest": the name under which the store keeps the image.
  std::string Normalized() const;
  /// "alpine:latest": the shortest text that parses to this reference.
  std::string Familiar() const;
  /// "docker.io/library/alpine".
  std::string Repository() const { return domain + "/" + path; }

  friend bool operator==(const Reference&, const Reference&) = default;
};

/// The domain that `text` ([registry] domain of config.toml) means, if it can stand before a name:
/// INVALID_ARGUMENT for "myhost", which would be read as a part of the path.
absl::StatusOr<std::string> CheckDefaultDomain(absl::string_view text);

/// Familiar() of a normalized name; the text unchanged if it does not parse.
std::string FamiliarName(absl::string_view name);

}  // namespace container::oci
