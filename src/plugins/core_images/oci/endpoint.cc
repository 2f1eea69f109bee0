#include "plugins/core_images/oci/endpoint.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "plugins/core_images/oci/manifest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::oci {
namespace {

constexpr size_t kTokenLimitBytes = 1 << 20;
constexpr int kAuthorizationLimit = 2;  // per request: one more for a token that has just expired
constexpr char kClientId[] = "container";
constexpr int64_t kDefaultTokenSeconds = 60;
constexpr int64_t kLongestTokenSeconds = 24 * 3600;

// docker.io is a name, its registry lives elsewhere.
std::string RegistryHost(const std::string& domain) {
  return domain == kDefaultDomain ? "registry-1.docker.io" : domain;
}

// The part of "http://host:5000/" that stands for a domain.
std::string DomainOf(absl::string_view server) {
  if (!absl::ConsumePrefix(&server, "https://")) absl::ConsumePrefix(&server, "http://");
  return absl::AsciiStrToLower(server.substr(0, server.find('/')));
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

bool IsHeaderSafe(absl::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](unsigned char c) { return c < 0x20 || c == 0x7f; });
}

bool MayPass(const HttpResponse& response) {
  switch (response.status) {
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return true;
    default:
      return false;
  }
}

// Doubled for each failure; half of it is left to chance, so that many clients don't come back
// together.
std::chrono::milliseconds DelayBehind(const RetryOptions& retry, int failures) {
  const auto delay =
      std::min(retry.first_delay * (1 << std::min(failures - 1, 16)), retry.longest_delay);
  thread_local std::mt19937 random{std::random_device{}()};
  std::uniform_int_distribution<int64_t> part(delay.count() / 2, delay.count());
  return std::chrono::milliseconds(part(random));
}

HttpOptions HttpOptionsOf(const RegistryOptions& options) {
  HttpOptions result;
  result.stall_timeout = options.stall_timeout;
  for (const auto& [domain, host] : options.hosts) {
    if (host.ca_file.empty() && !host.insecure) continue;
    result.tls[UrlAuthority(absl::StrCat("https://", RegistryHost(domain), "/"))] = {host.ca_file,
                                                                                     host.insecure};
  }
  return result;
}

}  // namespace

const HostSettings& RegistryOptions::Host(const std::string& domain) const {
  static const auto& none = *new HostSettings();
  const auto found = hosts.find(domain);
  return found == hosts.end() ? none : found->second;
}

std::string SchemeFor(const RegistryOptions& options, const std::string& domain) {
  if (options.scheme == Scheme::kHttp) return "http";
  if (options.scheme == Scheme::kHttps) return "https";
  if (!options.Host(domain).ca_file.empty()) return "https";
  return IsPrivateHost(UrlHost(absl::StrCat("http://", domain, "/"))) ? "http" : "https";
}

Endpoint::Endpoint(const std::string& server, const RegistryOptions& options, Cancelled cancelled,
                   std::optional<Credential> credential)
    : domain_(DomainOf(server)),
      host_(RegistryHost(domain_)),
      options_(options),
      given_credential_(std::move(credential)),
      http_(HttpOptionsOf(options), std::move(cancelled)),
      scheme_(SchemeFor(options, domain_)) {
  may_fall_back_ = options.scheme == Scheme::kAuto && options.Host(domain_).insecure;
  if (absl::StartsWith(server, "http://")) scheme_ = "http";
  if (absl::StartsWith(server, "https://")) {
    scheme_ = "https";
    may_fall_back_ = false;
  }
}

std::string Endpoint::BaseUrl() const {
  const std::lock_guard lock(mutex_);
  return absl::StrCat(scheme_, "://", host_, "/v2");
}

absl::StatusOr<HttpResponse> Endpoint::Send(const std::string& path, HttpRequest request,
                                            const std::vector<std::string>& scopes,
                                            const Prepare& prepare) {
  return SendAuthorized(path, std::move(request), scopes, prepare, options_.retry.attempts);
}

absl::StatusOr<HttpResponse> Endpoint::SendOnce(const std::string& path, HttpRequest request,
                                                const std::vector<std::string>& scopes) {
  return SendAuthorized(path, std::move(request), scopes, nullptr, 1);
}

absl::StatusOr<HttpResponse> Endpoint::SendAuthorized(const std::string& path, HttpRequest request,
                                                      const std::vector<std::string>& scopes,
                                                      const Prepare& prepare, int attempts) {
  const std::string scope_key = absl::StrJoin(scopes, " ");
  const bool is_url = absl::StartsWith(path, "http://") || absl::StartsWith(path, "https://");
  for (int authorized = 0;;) {
    const std::string base = BaseUrl();
    request.url = is_url ? path : absl::StrCat(base, path);
    const bool is_ours = UrlOrigin(request.url) == UrlOrigin(base);
    request.authorization = is_ours ? AuthorizationFor(scope_key) : "";
    absl::StatusOr<HttpResponse> response = SendUntilItPasses(request, prepare, attempts);
    if (!response.ok()) {
      if (is_url || !IsTlsFailure(response.status())) return response;
      const bool has_fallen_back = BaseUrl() != base;  // in another thread
      const std::lock_guard lock(mutex_);
      if (!has_fallen_back && !std::exchange(may_fall_back_, false)) return response;
      scheme_ = "http";
      continue;
    }
    if (response->status != 401 || !is_ours || authorized++ == kAuthorizationLimit) return response;
    RETURN_IF_ERROR(Authorize(*response, request.authorization, scopes, scope_key));
  }
}

absl::StatusOr<HttpResponse> Endpoint::SendUntilItPasses(HttpRequest request,
                                                         const Prepare& prepare, int attempts) {
  const RetryOptions& retry = options_.retry;
  for (int failures = 0;;) {
    if (prepare && prepare(request)) failures = 0;
    absl::StatusOr<HttpResponse> response = http_.Send(request);
    if (response.ok() ? !MayPass(*response) : !oci::MayPass(response.status())) return response;
    if (++failures >= attempts) return response;
    std::chrono::milliseconds wait = DelayBehind(retry, failures);
    if (response.ok() && response->retry_after_seconds > 0) {
      const std::chrono::seconds asked(response->retry_after_seconds);
      if (asked > retry.longest_retry_after) return response;
      wait = std::max<std::chrono::milliseconds>(wait, asked);
    }
    RETURN_IF_ERROR(http_.Wait(wait));
  }
}

absl::Status Endpoint::Wait(int failures) const {
  return http_.Wait(DelayBehind(options_.retry, failures));
}

std::string Endpoint::AuthorizationFor(const std::string& scope_key) {
  const std::lock_guard lock(mutex_);
  if (const auto found = tokens_.find(scope_key); found != tokens_.end()) {
    if (found->second.expires > std::chrono::steady_clock::now())
      return found->second.authorization;
    tokens_.erase(found);
  }
  return basic_.value_or("");
}

absl::StatusOr<std::optional<Credential>> Endpoint::FindCredential() {
  if (given_credential_.has_value()) return given_credential_;
  if (options_.credentials == nullptr) return std::optional<Credential>();
  return options_.credentials->Find(domain_);
}

absl::Status Endpoint::WantsLogin(bool has_login) const {
  return absl::UnauthenticatedError(
      has_login
          ? absl::StrCat("registry ", domain_, " refuses the login: user name or password is wrong")
          : absl::StrCat("registry ", domain_, " wants a login: use 'container registry login ",
                         domain_, "'"));
}

absl::Status Endpoint::Authorize(const HttpResponse& refusal, const std::string& used,
                                 const std::vector<std::string>& scopes,
                                 const std::string& scope_key) {
  const auto [begin, end] = refusal.headers.equal_range("www-authenticate");
  std::optional<Challenge> bearer;
  bool basic = false;
  for (auto header = begin; header != end; ++header) {
    for (Challenge& challenge : ParseChallenges(header->second)) {
      if (challenge.scheme == "bearer" && challenge.parameters.contains("realm") && !bearer) {
        bearer = std::move(challenge);
      } else if (challenge.scheme == "basic") {
        basic = true;
      }
    }
  }
  ASSIGN_OR_RETURN(const std::optional<Credential> credential, FindCredential(),
                   absl::StrCat("find the login for ", domain_));
  if (bearer.has_value()) {
    ASSIGN_OR_RETURN(Token token, FetchToken(*bearer, scopes, credential));
    const std::lock_guard lock(mutex_);
    tokens_[scope_key] = std::move(token);
    return absl::OkStatus();
  }
  if (!basic || !credential.has_value() || credential->username.empty()) {
    return WantsLogin(basic && credential.has_value());
  }
  const std::string value = absl::StrCat(
      "Basic ", absl::Base64Escape(absl::StrCat(credential->username, ":", credential->password)));
  if (used == value) return WantsLogin(/*has_login=*/true);
  const std::lock_guard lock(mutex_);
  basic_ = value;
  return absl::OkStatus();
}

absl::StatusOr<Endpoint::Token> Endpoint::FetchToken(const Challenge& challenge,
                                                     const std::vector<std::string>& scopes,
                                                     const std::optional<Credential>& credential) {
  const auto parameter = [&](const char* name) -> std::string {
    const auto found = challenge.parameters.find(name);
    return found == challenge.parameters.end() ? "" : found->second;
  };
  const std::string realm = parameter("realm");
  if (!absl::StartsWith(realm, "http://") && !absl::StartsWith(realm, "https://")) {
    return absl::UnavailableError(
        absl::StrCat("registry ", domain_, " names a token server that is no URL"));
  }
  if (credential.has_value() && absl::StartsWith(BaseUrl(), "https://") &&
      !absl::StartsWith(realm, "https://")) {
    return absl::UnavailableError(
        absl::StrCat("registry ", domain_, " wants the login sent without encryption"));
  }
  std::vector<std::string> wanted = scopes;
  if (const std::string named = parameter("scope");
      !named.empty() && std::find(wanted.begin(), wanted.end(), named) == wanted.end()) {
    // The server knows better what the request needs; what else we want stands beside it.
    wanted.insert(wanted.begin(), named);
  }
  HttpRequest request;
  const std::string service = parameter("service");
  if (credential.has_value() && !credential->identity_token.empty()) {
    request.method = "POST";
    request.url = realm;
    request.content_type = "application/x-www-form-urlencoded";
    request.body = absl::StrCat("grant_type=refresh_token&client_id=", kClientId,
                                "&service=", UrlEncode(service),
                                "&scope=", UrlEncode(absl::StrJoin(wanted, " ")),
                                "&refresh_token=", UrlEncode(credential->identity_token));
  } else {
    request.url = absl::StrCat(realm, absl::StrContains(realm, "?") ? "&" : "?",
                               "service=", UrlEncode(service));
    for (const std::string& scope : wanted) {
      absl::StrAppend(&request.url, "&scope=", UrlEncode(scope));
    }
    if (credential.has_value()) {
      absl::StrAppend(&request.url, "&client_id=", kClientId,
                      "&account=", UrlEncode(credential->username));
      request.authorization = absl::StrCat(
          "Basic ",
          absl::Base64Escape(absl::StrCat(credential->username, ":", credential->password)));
    }
  }
  std::string body;
  request.sink = [&](absl::string_view data) -> absl::Status {
    if (body.size() + data.size() > kTokenLimitBytes) {
      return absl::ResourceExhaustedError("the token is too large");
    }
    body.append(data.data(), data.size());
    return absl::OkStatus();
  };
  ASSIGN_OR_RETURN(const HttpResponse response,
                   SendUntilItPasses(
                       std::move(request),
                       [&](HttpRequest&) {
                         body.clear();
                         return false;
                       },
                       options_.retry.attempts),
                   "get a token");
  if (response.status == 401 || (response.status == 400 && credential.has_value())) {
    return WantsLogin(credential.has_value());
  }
  if (response.status != 200) return ErrorOf(response, "a token");
  // Not the parser's own words: they may quote the token.
  const absl::StatusOr<nlohmann::json> document = ParseJson(body, kTokenLimitBytes);
  if (!document.ok() || !document->is_object()) {
    return absl::UnavailableError("the token server's answer is no JSON object");
  }
  Token token;
  for (const char* key : {"token", "access_token"}) {
    const auto found = document->find(key);
    if (found == document->end() || !found->is_string()) continue;
    const std::string& text = found->get_ref<const std::string&>();
    if (text.empty() || !IsHeaderSafe(text)) continue;
    token.authorization = absl::StrCat("Bearer ", text);
    break;
  }
  if (token.authorization.empty()) {
    return absl::UnauthenticatedError("the token server's answer holds no token");
  }
  int64_t seconds = kDefaultTokenSeconds;
  if (const auto found = document->find("expires_in");
      found != document->end() && found->is_number_integer() && found->get<int64_t>() > 0) {
    seconds = std::min(found->get<int64_t>(), kLongestTokenSeconds);
  }
  // A little early, as the request still has to travel.
  token.expires = std::chrono::steady_clock::now() + std::chrono::seconds(seconds) -
                  std::chrono::milliseconds(std::min<int64_t>(10'000, seconds * 250));
  return token;
}

absl::Status Endpoint::Check() {
  ASSIGN_OR_RETURN(const HttpResponse response, Send("/", HttpRequest(), {}));
  if (response.status == 200) return absl::OkStatus();
  if (response.status == 401) return WantsLogin(/*has_login=*/true);
  if (response.status == 404) {
    return absl::NotFoundError(absl::StrCat(domain_, " is no registry: it has no /v2/"));
  }
  return ErrorOf(response, "a login");
}

absl::Status Endpoint::ErrorOf(const HttpResponse& response, absl::string_view what) const {
  const std::string said = RegistryMessage(response.error_body);
  const std::string detail = said.empty()
                                 ? absl::StrCat("HTTP status ", response.status)
                                 : absl::StrCat("HTTP status ", response.status, ", ", said);
  switch (response.status) {
    case 404:
      return absl::NotFoundError(
          absl::StrCat("registry ", domain_, " has no such ", what, " (", detail, ")"));
    case 401:
      return absl::UnauthenticatedError(
          absl::StrCat("registry ", domain_, " refuses ", what, " (", detail,
                       "): it does not exist, or needs another login"));
    case 403:
      return absl::PermissionDeniedError(
          absl::StrCat("registry ", domain_, " forbids access to ", what, " (", detail, ")"));
    case 429:
      return absl::ResourceExhaustedError(absl::StrCat(
          "registry ", domain_, " has had too many requests (", detail, "): try again later"));
    default:
      return absl::UnavailableError(
          absl::StrCat("registry ", domain_, " fails on ", what, " (", detail, ")"));
  }
}

}  // namespace container::oci
