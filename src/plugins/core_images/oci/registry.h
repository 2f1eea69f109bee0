// A client of one repository of a registry.
//
// Source: OCI distribution specification 1.1 (pull); docker's token authentication.
//
// Errors: NOT_FOUND (the registry has no such image or blob), UNAUTHENTICATED (it wants a login),
// PERMISSION_DENIED, DATA_LOSS (what came is not what was asked for), RESOURCE_EXHAUSTED (over a
// bound, or too many requests), UNAVAILABLE and DEADLINE_EXCEEDED (it can't be reached), those of a
// sink unchanged.
// Threads: may be used by several at once.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugins/core_images/oci/http.h"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::oci {

enum class Scheme { kAuto, kHttp, kHttps };

/// http or https for a reference's domain: kAuto is http for loopback and private addresses.
std::string SchemeFor(Scheme scheme, absl::string_view domain);

class RegistryClient {
 public:
  RegistryClient(const Reference& reference, Scheme scheme, Cancelled cancelled);

  struct FetchedManifest {
    std::string body;
    Descriptor descriptor;  // with the media type that the registry says
  };
  /// The manifest or index under a tag or digest; the digest is verified where one is known.
  absl::StatusOr<FetchedManifest> GetManifest(const std::string& tag_or_digest);

  /// Streams a blob. Never gives `sink` more than descriptor.size_bytes; whoever owns the sink
  /// compares size and digest at the end.
  absl::Status GetBlob(const Descriptor& descriptor,
                       const std::function<absl::Status(absl::string_view)>& sink);

 private:
  absl::StatusOr<HttpResponse> Get(HttpRequest request);
  absl::StatusOr<std::string> FetchToken(const HttpResponse& refusal);
  absl::Status HttpError(const HttpResponse& response, absl::string_view what) const;

  Reference reference_;
  std::string base_url_;  // "https://registry-1.docker.io/v2/library/alpine"
  std::string scope_;
  HttpClient http_;
  std::mutex mutex_;
  std::map<std::string, std::string> authorizations_;  // by scope
};

}  // namespace container::oci
