// A client of one repository of a registry, and of its mirrors.
//
// Source: OCI distribution specification 1.1 (pull).
//
// Mirrors are asked first, in their order; whatever goes wrong there leads to the next, and the
// registry itself comes last. What comes from a mirror is verified as what comes from the registry.
//
// Errors: those of endpoint.h, DATA_LOSS (what came is not what was asked for), RESOURCE_EXHAUSTED
// (over a bound), those of a sink unchanged.
// Threads: may be used by several at once.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugins/core_images/oci/endpoint.h"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::oci {

class RegistryClient {
 public:
  RegistryClient(const Reference& reference, const RegistryOptions& options, Cancelled cancelled);

  struct FetchedManifest {
    std::string body;
    Descriptor descriptor;  // with the media type that the registry says
  };
  /// The manifest or index under a tag or digest; the digest is verified where one is known.
  absl::StatusOr<FetchedManifest> GetManifest(const std::string& tag_or_digest);

  /// Streams a blob from byte `offset` on; goes on where a connection broke. Never gives `sink`
  /// more than there should be, but perhaps less: whoever owns the sink compares size and digest at
  /// the end.
  absl::Status GetBlob(const Descriptor& descriptor, int64_t offset,
                       const std::function<absl::Status(absl::string_view)>& sink);

  /// From now on only the registry itself is asked. False if that was so already.
  bool LeaveMirrors();

 private:
  struct Source {
    std::unique_ptr<Endpoint> endpoint;
    std::string path;   // "/library/alpine", behind Endpoint::BaseUrl
    std::string scope;  // "repository:library/alpine:pull"
  };

  absl::StatusOr<FetchedManifest> GetManifestFrom(Source& source, const std::string& tag_or_digest);

  Reference reference_;
  std::vector<Source> sources_;    // the registry itself last
  std::atomic<size_t> first_ = 0;  // those before it are asked no more
};

}  // namespace container::oci
