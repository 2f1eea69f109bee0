#include "plugins/core_images/oci/upload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plugins/core_images/oci/digest.h"

namespace container::oci {
namespace {

constexpr char kOctets[] = "application/octet-stream";
constexpr int64_t kSmallChunkBytes = 8 << 20;
constexpr int64_t kResumeChunkBytes = 64 << 20;

// The session's next address, as an answer says it; empty if it says none.
std::string Location(const HttpResponse& response) {
  const std::string location = response.Header("location");
  return location.empty() ? "" : ResolveUrl(response.url, location);
}

bool MayPassLater(long status) { return status == 408 || status == 429 || status >= 500; }

}  // namespace

RegistryPusher::RegistryPusher(const Reference& reference, const RegistryOptions& options,
                               Cancelled cancelled)
    : reference_(reference),
      endpoint_(reference.domain, options, std::move(cancelled)),
      path_("/" + reference.path),
      scope_(absl::StrCat("repository:", reference.path, ":pull,push")) {}

absl::StatusOr<bool> RegistryPusher::HasBlob(const Descriptor& descriptor) {
  HttpRequest request;
  request.method = "HEAD";
  ASSIGN_OR_RETURN(const HttpResponse response,
                   endpoint_.Send(absl::StrCat(path_, "/blobs/", descriptor.digest),
                                  std::move(request), Scopes()));
  if (response.status == 200) return true;
  if (response.status == 404) return false;
  return endpoint_.ErrorOf(response, absl::StrCat("repository ", reference_.Repository()));
}

absl::StatusOr<bool> RegistryPusher::Mount(const Descriptor& descriptor, const std::string& from,
                                           Session& session) {
  HttpRequest request;
  request.method = "POST";
  std::vector<std::string> scopes = Scopes();
  scopes.push_back(absl::StrCat("repository:", from, ":pull"));
  ASSIGN_OR_RETURN(
      const HttpResponse response,
      endpoint_.Send(absl::StrCat(path_, "/blobs/uploads/?mount=", UrlEncode(descriptor.digest),
                                  "&from=", UrlEncode(from)),
                     std::move(request), scopes));
  if (response.status == 201) return true;
  if (response.status == 202) session.url = Location(response);
  // Whatever keeps the other repository from us, the blob can still be sent.
  return false;
}

absl::Status RegistryPusher::Begin(Session& session) {
  HttpRequest request;
  request.method = "POST";
  ASSIGN_OR_RETURN(const HttpResponse response,
                   endpoint_.Send(path_ + "/blobs/uploads/", std::move(request), Scopes()));
  if (response.status != 202) {
    return endpoint_.ErrorOf(response, absl::StrCat("repository ", reference_.Repository()));
  }
  session.url = Location(response);
  session.offset = 0;
  int64_t least = 0;
  if (session.chunk_bytes > 0 &&
      absl::SimpleAtoi(response.Header("oci-chunk-min-length"), &least)) {
    session.chunk_bytes = std::max(session.chunk_bytes, least);
  }
  if (session.url.empty()) {
    return absl::UnavailableError(
        absl::StrCat("registry ", endpoint_.domain(), " does not say where to upload to"));
  }
  return absl::OkStatus();
}

// Sends what the registry lacks; the answer to the last request, or the first that is no success.
absl::StatusOr<HttpResponse> RegistryPusher::SendRest(const Descriptor& descriptor, int fd,
                                                      Session& session,
                                                      const std::function<void(int64_t)>& on_sent) {
  const auto part = [&](const char* method, int64_t size_bytes) {
    HttpRequest request;
    request.method = method;
    request.content_type = kOctets;
    request.body_fd = fd;
    request.body_offset = session.offset;
    request.body_size_bytes = size_bytes;
    const int64_t offset = session.offset;
    request.on_sent = [&on_sent, offset](int64_t sent) { on_sent(offset + sent); };
    return request;
  };
  if (session.chunk_bytes > 0) {
    while (session.offset < descriptor.size_bytes) {
      const int64_t size = std::min(session.chunk_bytes, descriptor.size_bytes - session.offset);
      HttpRequest request = part("PATCH", size);
      request.headers = {
          absl::StrCat("Content-Range: ", session.offset, "-", session.offset + size - 1)};
      ASSIGN_OR_RETURN(HttpResponse response,
                       endpoint_.SendOnce(session.url, std::move(request), Scopes()));
      if (response.status != 202) return response;
      session.offset += size;
      if (std::string next = Location(response); !next.empty()) session.url = std::move(next);
    }
  }
  HttpRequest request = part("PUT", descriptor.size_bytes - session.offset);
  return endpoint_.SendOnce(
      absl::StrCat(session.url, absl::StrContains(session.url, "?") ? "&" : "?",
                   "digest=", UrlEncode(descriptor.digest)),
      std::move(request), Scopes());
}

// How far a broken upload has come; false if that can't be learnt.
bool RegistryPusher::Ask(Session& session) {
  const absl::StatusOr<HttpResponse> response =
      endpoint_.SendOnce(session.url, HttpRequest(), Scopes());
  if (!response.ok() || response->status != 204) return false;
  // "0-99" for 100 bytes; nothing, or "0-0" from some, for none.
  const std::string range = response->Header("range");
  const size_t dash = range.find('-');
  int64_t last = 0;
  if (dash != std::string::npos && !absl::SimpleAtoi(range.substr(dash + 1), &last)) return false;
  // A registry can't tell one byte from none with this: begin anew.
  if (last <= 0) return false;
  session.offset = last + 1;
  if (std::string next = Location(*response); !next.empty()) session.url = std::move(next);
  return true;
}

absl::StatusOr<UploadResult> RegistryPusher::PutBlob(const Descriptor& descriptor, int fd,
                                                     const std::vector<std::string>& mount_from,
                                                     const std::function<void(int64_t)>& on_sent) {
  ASSIGN_OR_RETURN(const bool present, HasBlob(descriptor));
  if (present) return UploadResult::kExisted;
  Session session;
  for (const std::string& from : mount_from) {
    ASSIGN_OR_RETURN(const bool mounted, Mount(descriptor, from, session));
    if (mounted) return UploadResult::kMounted;
  }
  for (int failures = 0;;) {
    if (session.url.empty()) RETURN_IF_ERROR(Begin(session));
    const int64_t offset_before = session.offset;
    absl::StatusOr<HttpResponse> response = SendRest(descriptor, fd, session, on_sent);
    if (response.ok()) {
      if (response->status == 201 || response->status == 204) return UploadResult::kUploaded;
      const bool too_large = response->status == 413 && session.chunk_bytes != kSmallChunkBytes;
      if (too_large) session.chunk_bytes = kSmallChunkBytes;
      // 404 and 416: the session is lost, or has another offset than we think.
      const bool lost = response->status == 404 || response->status == 416;
      if (!too_large && !lost && !MayPassLater(response->status)) {
        return endpoint_.ErrorOf(response.value(),
                                 absl::StrCat("blob ", ShortDigest(descriptor.digest)));
      }
      if (too_large || lost) session.url.clear();
    } else if (!MayPass(response.status())) {
      return response.status();
    }
    if (session.offset > offset_before) failures = 0;
    if (++failures >= endpoint_.retry().attempts) {
      if (!response.ok()) return response.status();
      return endpoint_.ErrorOf(response.value(),
                               absl::StrCat("blob ", ShortDigest(descriptor.digest)));
    }
    RETURN_IF_ERROR(endpoint_.Wait(failures));
    if (session.url.empty()) {
      session.offset = 0;
    } else if (Ask(session)) {
      if (session.offset > descriptor.size_bytes) session = Session();
      if (session.chunk_bytes == 0) session.chunk_bytes = kResumeChunkBytes;
    } else {
      session.url.clear();
      session.offset = 0;
    }
  }
}

absl::Status RegistryPusher::PutManifest(const std::string& tag_or_digest,
                                         const Descriptor& descriptor, const std::string& body) {
  HttpRequest request;
  request.method = "PUT";
  request.content_type = descriptor.media_type;
  request.body = body;
  ASSIGN_OR_RETURN(const HttpResponse response,
                   endpoint_.Send(absl::StrCat(path_, "/manifests/", tag_or_digest),
                                  std::move(request), Scopes()));
  if (response.status < 200 || response.status > 299) {
    return endpoint_.ErrorOf(response, absl::StrCat("manifest of ", reference_.Familiar()));
  }
  const std::string stored = response.Header("docker-content-digest");
  if (CheckDigest(stored).ok() && stored != descriptor.digest) {
    return absl::DataLossError(absl::StrCat("the registry has stored a manifest with digest ",
                                            stored, " instead of ", descriptor.digest));
  }
  return absl::OkStatus();
}

}  // namespace container::oci
