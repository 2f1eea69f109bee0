#include "plugins/core_images/oci/registry.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "plugins/core_images/oci/challenge.h"
#include "plugins/core_images/oci/digest.h"

namespace container::oci {
namespace {

constexpr size_t kTokenLimitBytes = 1 << 20;

// docker.io is a name, its registry lives elsewhere.
std::string RegistryHost(const std::string& domain) {
  return domain == kDefaultDomain ? "registry-1.docker.io" : domain;
}

// The first error of {"errors": [{"code", "message"}]}, cleaned of control characters.
std::string RegistryMessage(const std::string& body) {
  const absl::StatusOr<nlohmann::json> document = ParseJson(body, kTokenLimitBytes);
  if (!document.ok() || !document->is_object()) return "";
  const auto errors = document->find("errors");
  if (errors == document->end() || !errors->is_array() || errors->empty()) return "";
  const nlohmann::json& first = errors->front();
  if (!first.is_object()) return "";
  const auto message = first.find("message");
  if (message == first.end() || !message->is_string()) return "";
  std::string text = message->get<std::string>().substr(0, 200);
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, ' ');
  return text;
}

}  // namespace

std::string SchemeFor(Scheme scheme, absl::string_view domain) {
  if (scheme == Scheme::kHttp) return "http";
  if (scheme == Scheme::kHttps) return "https";
  return IsPrivateHost(UrlHost(absl::StrCat("http://", domain, "/"))) ? "http" : "https";
}

RegistryClient::RegistryClient(const Reference& reference, Scheme scheme, Cancelled cancelled)
    : reference_(reference),
      base_url_(absl::StrCat(SchemeFor(scheme, reference.domain), "://",
                             RegistryHost(reference.domain), "/v2/", reference.path)),
      scope_(absl::StrCat("repository:", reference.path, ":pull")),
      http_(std::move(cancelled)) {}

absl::StatusOr<RegistryClient::FetchedManifest> RegistryClient::GetManifest(
    const std::string& tag_or_digest) {
  FetchedManifest result;
  HttpRequest request;
  request.url = absl::StrCat(base_url_, "/manifests/", tag_or_digest);
  request.accept = {kOciIndex, kOciManifest, kDockerIndex, kDockerManifest};
  request.sink = [&](absl::string_view data) -> absl::Status {
    if (result.body.size() + data.size() > kManifestLimitBytes) {
      return absl::ResourceExhaustedError(
          absl::StrCat("the manifest is larger than ", kManifestLimitBytes, " bytes"));
    }
    result.body.append(data.data(), data.size());
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const HttpResponse response, Get(std::move(request)));
  if (response.status != 200) {
    return HttpError(response, absl::StrCat("image ", reference_.Familiar()));
  }
  result.descriptor.digest = Sha256Digest(result.body);
  result.descriptor.size_bytes = static_cast<int64_t>(result.body.size());
  // "application/json; charset=utf-8" and its like are no media types of manifests.
  const std::string type = response.Header("content-type");
  result.descriptor.media_type = type.substr(0, type.find(';'));

  const bool by_digest = absl::StartsWith(tag_or_digest, kSha256Prefix);
  const std::string expected =
      by_digest ? tag_or_digest : response.Header("docker-content-digest");
  if (CheckDigest(expected).ok() && expected != result.descriptor.digest) {
    return absl::DataLossError(absl::StrCat("the registry sent a manifest with digest ",
                                            result.descriptor.digest, " instead of ", expected));
  }
  return result;
}

absl::Status RegistryClient::GetBlob(
    const Descriptor& descriptor, const std::function<absl::Status(absl::string_view)>& sink) {
  int64_t received = 0;
  HttpRequest request;
  request.url = absl::StrCat(base_url_, "/blobs/", descriptor.digest);
  request.sink = [&](absl::string_view data) -> absl::Status {
    if (static_cast<int64_t>(data.size()) > descriptor.size_bytes - received) {
      return absl::DataLossError(absl::StrCat("the registry sent more than the ",
                                              descriptor.size_bytes, " bytes of blob ",
                                              ShortDigest(descriptor.digest)));
    }
    received += static_cast<int64_t>(data.size());
    return sink(data);
  };
  ASSIGN_OR_RETURN(const HttpResponse response, Get(std::move(request)));
  if (response.status != 200) {
    return HttpError(response, absl::StrCat("blob ", ShortDigest(descriptor.digest), " of ",
                                            reference_.Familiar()));
  }
  return absl::OkStatus();
}

absl::StatusOr<HttpResponse> RegistryClient::Get(HttpRequest request) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto found = authorizations_.find(scope_); found != authorizations_.end()) {
      request.authorization = found->second;
    }
  }
  absl::StatusOr<HttpResponse> response = http_.Get(request);
  if (!response.ok() || response->status != 401) return response;
  ASSIGN_OR_RETURN(request.authorization, FetchToken(*response));
  return http_.Get(request);
}

absl::StatusOr<std::string> RegistryClient::FetchToken(const HttpResponse& refusal) {
  const auto [begin, end] = refusal.headers.equal_range("www-authenticate");
  std::optional<Challenge> bearer;
  for (auto header = begin; header != end; ++header) {
    for (Challenge& challenge : ParseChallenges(header->second)) {
      if (challenge.scheme == "bearer" && !bearer.has_value()) bearer = std::move(challenge);
    }
  }
  if (!bearer.has_value() || !bearer->parameters.contains("realm")) {
    return absl::UnauthenticatedError(
        absl::StrCat("registry ", reference_.domain, " wants a login for ", reference_.path));
  }
  const std::string& realm = bearer->parameters["realm"];
  if (!absl::StartsWith(realm, "http://") && !absl::StartsWith(realm, "https://")) {
    return absl::UnavailableError(
        absl::StrCat("registry ", reference_.domain, " names a token server that is no URL"));
  }
  std::string scope = bearer->parameters["scope"];
  if (scope.empty()) scope = scope_;
  HttpRequest request;
  request.url = absl::StrCat(realm, absl::StrContains(realm, "?") ? "&" : "?",
                             "service=", UrlEncode(bearer->parameters["service"]),
                             "&scope=", UrlEncode(scope));
  std::string body;
  request.sink = [&](absl::string_view data) -> absl::Status {
    if (body.size() + data.size() > kTokenLimitBytes) {
      return absl::ResourceExhaustedError("the token is too large");
    }
    body.append(data.data(), data.size());
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const HttpResponse response, http_.Get(request), "get an anonymous token");
  if (response.status != 200) return HttpError(response, "an anonymous token");
  ASSIGN_OR_RETURN(const nlohmann::json document, ParseJson(body, kTokenLimitBytes),
                   "read the token server's answer");
  for (const char* key : {"token", "access_token"}) {
    if (!document.is_object()) break;
    const auto found = document.find(key);
    if (found == document.end() || !found->is_string()) continue;
    const std::string& token = found->get_ref<const std::string&>();
    if (token.empty() || token.find_first_of("\r\n") != std::string::npos) continue;
    const std::lock_guard lock(mutex_);
    return authorizations_[scope_] = absl::StrCat("Bearer ", token);
  }
  return absl::UnauthenticatedError("the token server's answer holds no token");
}

absl::Status RegistryClient::HttpError(const HttpResponse& response, absl::string_view what) const {
  const std::string said = RegistryMessage(response.error_body);
  const std::string detail = said.empty() ? absl::StrCat("HTTP status ", response.status)
                                          : absl::StrCat("HTTP status ", response.status, ", ", said);
  const std::string& domain = reference_.domain;
  switch (response.status) {
    case 404:
      return absl::NotFoundError(
          absl::StrCat("registry ", domain, " has no such ", what, " (", detail, ")"));
    case 401:
      return absl::UnauthenticatedError(absl::StrCat("registry ", domain, " refuses ", what, " (",
                                                     detail,
                                                     "): it needs a login, or does not exist"));
    case 403:
      return absl::PermissionDeniedError(
          absl::StrCat("registry ", domain, " forbids access to ", what, " (", detail, ")"));
    case 429:
      return absl::ResourceExhaustedError(absl::StrCat(
          "registry ", domain, " has had too many requests (", detail, "): try again later"));
    default:
      return absl::UnavailableError(
          absl::StrCat("registry ", domain, " can't give ", what, " (", detail, ")"));
  }
}

}  // namespace container::oci
