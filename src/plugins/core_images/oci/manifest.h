// The documents of images: descriptors, manifests, indexes and configurations, OCI and docker
// schema 2.
//
// Source: OCI image specification 1.1 (descriptor.md, manifest.md, image-index.md, config.md);
// docker's image manifest version 2, schema 2.
//
// What is parsed comes from strangers: every shape, size and count is checked. Errors:
// INVALID_ARGUMENT for a document that is malformed, UNIMPLEMENTED for docker schema 1 and foreign
// layers, FAILED_PRECONDITION for artifacts that are no container image.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"
#include "plugins/core_images/oci/platform.h"

namespace container::oci {

/// The largest manifest or index, as the distribution specification suggests.
inline constexpr size_t kManifestLimitBytes = 4 << 20;
inline constexpr size_t kConfigLimitBytes = 8 << 20;
inline constexpr size_t kLayerLimit = 1024;
inline constexpr size_t kIndexEntryLimit = 1024;
inline constexpr int kIndexDepthLimit = 4;
inline constexpr int kJsonDepthLimit = 64;

inline constexpr char kOciManifest[] = "application/vnd.oci.image.manifest.v1+json";
inline constexpr char kOciIndex[] = "application/vnd.oci.image.index.v1+json";
inline constexpr char kOciConfig[] = "application/vnd.oci.image.config.v1+json";
inline constexpr char kOciLayerTar[] = "application/vnd.oci.image.layer.v1.tar";
inline constexpr char kOciLayerGzip[] = "application/vnd.oci.image.layer.v1.tar+gzip";
inline constexpr char kOciLayerZstd[] = "application/vnd.oci.image.layer.v1.tar+zstd";
inline constexpr char kDockerManifest[] = "application/vnd.docker.distribution.manifest.v2+json";
inline constexpr char kDockerIndex[] = "application/vnd.docker.distribution.manifest.list.v2+json";
inline constexpr char kDockerConfig[] = "application/vnd.docker.container.image.v1+json";

/// Names an image in an OCI layout's index.json.
inline constexpr char kRefNameAnnotation[] = "org.opencontainers.image.ref.name";
/// The full name, as containerd and docker write it into their archives.
inline constexpr char kContainerdNameAnnotation[] = "io.containerd.image.name";

/// Parses JSON of bounded size and depth.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, size_t limit_bytes);

struct Descriptor {
  std::string media_type;
  std::string digest;      // checked: "sha256:…"
  int64_t size_bytes = 0;  // not negative
  std::map<std::string, std::string> annotations;
  std::optional<Platform> platform;  // as written, not normalized

  nlohmann::json ToJson() const;
  static absl::StatusOr<Descriptor> FromJson(const nlohmann::json& json);
  /// An attestation or another thing that is for no machine ("unknown/unknown").
  bool IsAttestation() const;

  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

struct Manifest {
  std::string media_type;
  Descriptor config;
  std::vector<Descriptor> layers;  // the lowest first
};

struct Index {
  std::string media_type;
  std::vector<Descriptor> manifests;
};

using Document = std::variant<Manifest, Index>;

/// Parses a manifest or an index. `media_type` is what the descriptor or the HTTP header says of
/// it; the document's own word must agree with it. Empty: told apart by the document alone.
absl::StatusOr<Document> ParseDocument(absl::string_view text, absl::string_view media_type);

bool IsIndexType(absl::string_view media_type);
bool IsManifestType(absl::string_view media_type);

struct ImageConfig {
  Platform platform;                  // as written
  std::string created;                // RFC 3339 or empty
  std::vector<std::string> diff_ids;  // of the layers, the lowest first
  nlohmann::json json;                // the whole document
};

absl::StatusOr<ImageConfig> ParseConfig(absl::string_view text);

/// Descriptors of an index that are images, with those first that suit `wanted` best. Entries
/// without a platform come last: only their configuration tells. Those that don't suit are left
/// out.
std::vector<Descriptor> SelectManifests(const Index& index, const Platform& wanted);

/// "linux/amd64, linux/arm64": what an index offers, for error messages.
std::string OfferedPlatforms(const Index& index);

/// The identity of a stack of layers: the chain id of the top one as hexadecimal digits. Of no
/// layer at all: the digest of nothing.
std::string ChainIdHex(const std::vector<std::string>& diff_ids);

}  // namespace container::oci
