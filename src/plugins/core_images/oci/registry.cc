#include "plugins/core_images/oci/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "plugins/core_images/oci/digest.h"

namespace container::oci {
namespace {

// A download that moves on by so much between two faults is not stuck.
constexpr int64_t kProgressBytes = 1 << 20;
// How often a body that is too short, but ends in good order, is asked for again.
constexpr int kShortLimit = 3;

// The prefix of repositories in a mirror's URL: "/proxy" of "https://host/proxy/".
std::string PrefixOf(absl::string_view mirror) {
  if (!absl::ConsumePrefix(&mirror, "https://")) absl::ConsumePrefix(&mirror, "http://");
  const size_t slash = mirror.find('/');
  if (slash == absl::string_view::npos) return "";
  absl::string_view prefix = mirror.substr(slash);
  while (absl::ConsumeSuffix(&prefix, "/")) {
  }
  return std::string(prefix);
}

// The first byte of "bytes 10-99/100", or -1.
int64_t RangeStart(absl::string_view content_range) {
  int64_t start = -1;
  if (!absl::ConsumePrefix(&content_range, "bytes ") ||
      !absl::SimpleAtoi(content_range.substr(0, content_range.find('-')), &start)) {
    return -1;
  }
  return start;
}

}  // namespace

RegistryClient::RegistryClient(const Reference& reference, const RegistryOptions& options,
                               Cancelled cancelled)
    : reference_(reference) {
  const auto add = [&](const std::string& server, const std::string& prefix,
                       const RegistryOptions& server_options) {
    const std::string path = absl::StrCat(prefix, "/", reference.path);
    sources_.push_back({std::make_unique<Endpoint>(server, server_options, cancelled), path,
                        absl::StrCat("repository:", path.substr(1), ":pull")});
  };
  RegistryOptions mirror_options = options;
  mirror_options.scheme = Scheme::kAuto;  // --scheme is a word about the registry
  for (const std::string& mirror : options.Host(reference.domain).mirrors) {
    add(mirror, PrefixOf(mirror), mirror_options);
  }
  add(reference.domain, "", options);
}

bool RegistryClient::LeaveMirrors() {
  return first_.exchange(sources_.size() - 1) != sources_.size() - 1;
}

absl::StatusOr<RegistryClient::FetchedManifest> RegistryClient::GetManifest(
    const std::string& tag_or_digest) {
  for (size_t i = first_;; ++i) {
    absl::StatusOr<FetchedManifest> manifest = GetManifestFrom(sources_[i], tag_or_digest);
    if (manifest.ok() || absl::IsCancelled(manifest.status()) || i + 1 == sources_.size()) {
      return manifest;
    }
  }
}

absl::StatusOr<RegistryClient::FetchedManifest> RegistryClient::GetManifestFrom(
    Source& source, const std::string& tag_or_digest) {
  FetchedManifest result;
  HttpRequest request;
  request.accept = {kOciIndex, kOciManifest, kDockerIndex, kDockerManifest};
  request.sink = [&](absl::string_view data) -> absl::Status {
    if (result.body.size() + data.size() > kManifestLimitBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the manifest is larger than ", kManifestLimitBytes, " bytes"));
    }
    result.body.append(data.data(), data.size());
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const HttpResponse response,
                   source.endpoint->Send(absl::StrCat(source.path, "/manifests/", tag_or_digest),
                                         std::move(request), {source.scope}, [&](HttpRequest&) {
                                           result.body.clear();
                                           return false;
                                         }));
  if (response.status != 200) {
    return source.endpoint->ErrorOf(response, absl::StrCat("image ", reference_.Familiar()));
  }
  result.descriptor.digest = Sha256Digest(result.body);
  result.descriptor.size_bytes = static_cast<int64_t>(result.body.size());
  // "application/json; charset=utf-8" and its like are no media types of manifests.
  const std::string type = response.Header("content-type");
  result.descriptor.media_type = type.substr(0, type.find(';'));

  const bool by_digest = absl::StartsWith(tag_or_digest, kSha256Prefix);
  const std::string expected = by_digest ? tag_or_digest : response.Header("docker-content-digest");
  if (CheckDigest(expected).ok() && expected != result.descriptor.digest) {
    return absl::DataLossError(absl::StrCat("the registry sent a manifest with digest ",
                                            result.descriptor.digest, " instead of ", expected));
  }
  return result;
}

absl::Status RegistryClient::GetBlob(const Descriptor& descriptor, int64_t offset,
                                     const std::function<absl::Status(absl::string_view)>& sink) {
  int64_t received = offset;
  absl::Status sink_status;
  const auto get = [&](Source& source) -> absl::Status {
    int64_t skip = 0;  // bytes that come although we have them
    int64_t received_before = received;
    HttpRequest request;
    request.on_head = [&](const HttpResponse& head) -> absl::Status {
      // Servers that know no ranges start from the beginning.
      skip = head.status == 206 ? 0 : received;
      if (head.status == 206 && RangeStart(head.Header("content-range")) != received) {
        return absl::DataLossError("the registry sent another part of the blob than asked for");
      }
      return absl::OkStatus();
    };
    request.sink = [&](absl::string_view data) -> absl::Status {
      if (skip > 0) {
        const int64_t known = std::min(skip, static_cast<int64_t>(data.size()));
        data.remove_prefix(known);
        skip -= known;
      }
      if (data.empty()) return absl::OkStatus();
      if (static_cast<int64_t>(data.size()) > descriptor.size_bytes - received) {
        return absl::DataLossError(absl::StrCat("the registry sent more than the ",
                                                descriptor.size_bytes, " bytes of blob ",
                                                ShortDigest(descriptor.digest)));
      }
      received += static_cast<int64_t>(data.size());
      sink_status = sink(data);
      return sink_status;
    };
    for (int shorts = 0;; ++shorts) {
      ASSIGN_OR_RETURN(
          const HttpResponse response,
          source.endpoint->Send(absl::StrCat(source.path, "/blobs/", descriptor.digest), request,
                                {source.scope}, [&](HttpRequest& attempt) {
                                  attempt.range_start = received;
                                  return received - std::exchange(received_before, received) >=
                                         kProgressBytes;
                                }));
      if (response.status == 416 && received > 0) {
        return absl::DataLossError(absl::StrCat("the registry has less than ", received,
                                                " bytes of blob ", ShortDigest(descriptor.digest)));
      }
      if (response.status != 200 && response.status != 206) {
        return source.endpoint->ErrorOf(
            response,
            absl::StrCat("blob ", ShortDigest(descriptor.digest), " of ", reference_.Familiar()));
      }
      // A body without a length may have been cut by whoever is in between.
      if (received >= descriptor.size_bytes || shorts >= kShortLimit) return absl::OkStatus();
    }
  };
  if (received > 0 && received >= descriptor.size_bytes) return absl::OkStatus();
  for (size_t i = first_;; ++i) {
    const absl::Status status = get(sources_[i]);
    if (status.ok() || !sink_status.ok() || absl::IsCancelled(status) || i + 1 >= sources_.size()) {
      return status;
    }
  }
}

}  // namespace container::oci
