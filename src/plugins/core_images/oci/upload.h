// Writes into one repository of a registry.
//
// Source: OCI distribution specification 1.1 (push: existence, mounting, monolithic and chunked
// upload).
//
// A blob goes in one request; where that breaks, the rest goes in pieces from the byte on that the
// registry has, and a registry that takes no large requests gets small pieces from the start.
//
// Errors: those of endpoint.h, DATA_LOSS (the registry has stored something else), those of reading
// a file.
// Threads: may be used by several at once.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugins/core_images/oci/endpoint.h"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::oci {

enum class UploadResult { kExisted, kMounted, kUploaded };

class RegistryPusher {
 public:
  RegistryPusher(const Reference& reference, const RegistryOptions& options, Cancelled cancelled);

  /// Makes sure that the repository has the blob, which `fd` holds from its first byte on.
  /// `mount_from` are repositories of the same registry ("team/app") that may have it.
  absl::StatusOr<UploadResult> PutBlob(const Descriptor& descriptor, int fd,
                                       const std::vector<std::string>& mount_from,
                                       const std::function<void(int64_t sent_bytes)>& on_sent);

  absl::Status PutManifest(const std::string& tag_or_digest, const Descriptor& descriptor,
                           const std::string& body);

 private:
  struct Session {
    std::string url;  // empty: none
    int64_t offset = 0;
    int64_t chunk_bytes = 0;  // 0: all at once
  };

  absl::StatusOr<bool> HasBlob(const Descriptor& descriptor);
  absl::StatusOr<bool> Mount(const Descriptor& descriptor, const std::string& from,
                             Session& session);
  absl::Status Begin(Session& session);
  absl::StatusOr<HttpResponse> SendRest(const Descriptor& descriptor, int fd, Session& session,
                                        const std::function<void(int64_t)>& on_sent);
  bool Ask(Session& session);
  std::vector<std::string> Scopes() const { return {scope_}; }

  Reference reference_;
  Endpoint endpoint_;
  std::string path_;   // "/team/app"
  std::string scope_;  // "repository:team/app:pull,push"
};

}  // namespace container::oci
