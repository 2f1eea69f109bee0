// One registry (or mirror of one) as a server: authentication, retries, errors in words.
//
// Source: OCI distribution specification 1.1; docker's token authentication (the "token" and
// "oauth" pages of the distribution project's documentation); RFC 9110 (Retry-After); RFC 7617.
//
// Authentication starts with a refusal: nothing is read from the credential store, and nothing told
// to the server, before it asks. A bearer token is kept for each scope until it expires.
//
// Errors: NOT_FOUND, UNAUTHENTICATED (it wants a login, or refuses the one there is),
// PERMISSION_DENIED, RESOURCE_EXHAUSTED (too many requests), UNAVAILABLE and DEADLINE_EXCEEDED (it
// can't be reached), those of http.h and credentials.h.
// Threads: may be used by several at once.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugins/core_images/oci/challenge.h"
#include "plugins/core_images/oci/credentials.h"
#include "plugins/core_images/oci/http.h"

namespace container::oci {

enum class Scheme { kAuto, kHttp, kHttps };

/// What config.toml says of one registry.
struct HostSettings {
  std::vector<std::string> mirrors;  // "host[:port]" or URLs, asked in this order before it
  std::string ca_file;
  bool insecure = false;  // any certificate will do, and plain HTTP where TLS fails

  friend bool operator==(const HostSettings&, const HostSettings&) = default;
};

/// Retries of what may pass.
struct RetryOptions {
  int attempts = 5;                            // in a row without progress
  std::chrono::milliseconds first_delay{250};  // doubled each time, with a random part
  std::chrono::milliseconds longest_delay{15'000};
  std::chrono::seconds longest_retry_after{120};  // a server that asks for more is given up
};

struct RegistryOptions {
  Scheme scheme = Scheme::kAuto;
  std::map<std::string, HostSettings> hosts;           // by domain
  std::shared_ptr<const CredentialStore> credentials;  // may be null
  RetryOptions retry;
  std::chrono::seconds stall_timeout{30};

  const HostSettings& Host(const std::string& domain) const;
};

/// http or https for a registry: kAuto is http for loopback and private addresses for which there
/// is no CA file.
std::string SchemeFor(const RegistryOptions& options, const std::string& domain);

class Endpoint {
 public:
  /// `server` is a domain ("docker.io", "host:5000") or the URL of one ("http://host:5000"). Uses
  /// `options.credentials` for `server`, or `credential` if given.
  Endpoint(const std::string& server, const RegistryOptions& options, Cancelled cancelled,
           std::optional<Credential> credential = std::nullopt);

  const std::string& domain() const { return domain_; }
  const RetryOptions& retry() const { return options_.retry; }
  /// "https://registry-1.docker.io/v2"
  std::string BaseUrl() const;

  /// Called before each attempt; returns true if the attempt before it has made progress.
  using Prepare = std::function<bool(HttpRequest&)>;

  /// Sends a request, authorized for `scopes` where the server wants that, again and again as far
  /// as RetryOptions allow. `path` goes behind BaseUrl(); one that is a URL is taken as it is, and
  /// gets authorization only if it is on this server.
  absl::StatusOr<HttpResponse> Send(const std::string& path, HttpRequest request,
                                    const std::vector<std::string>& scopes,
                                    const Prepare& prepare = nullptr);
  /// The same, but what fails is not tried again.
  absl::StatusOr<HttpResponse> SendOnce(const std::string& path, HttpRequest request,
                                        const std::vector<std::string>& scopes);

  /// Waits before the next attempt behind `failures` (at least 1) that failed; CANCELLED.
  absl::Status Wait(int failures) const;

  /// OK if the server lets us in (GET /v2/).
  absl::Status Check();

  /// A status for an answer that is none of the expected; `what` as in "image alpine".
  absl::Status ErrorOf(const HttpResponse& response, absl::string_view what) const;

 private:
  struct Token {
    std::string authorization;  // the header's value
    std::chrono::steady_clock::time_point expires;
  };

  absl::StatusOr<HttpResponse> SendAuthorized(const std::string& path, HttpRequest request,
                                              const std::vector<std::string>& scopes,
                                              const Prepare& prepare, int attempts);
  absl::StatusOr<HttpResponse> SendUntilItPasses(HttpRequest request, const Prepare& prepare,
                                                 int attempts);
  std::string AuthorizationFor(const std::string& scope_key);
  absl::Status Authorize(const HttpResponse& refusal, const std::string& used,
                         const std::vector<std::string>& scopes, const std::string& scope_key);
  absl::StatusOr<Token> FetchToken(const Challenge& challenge,
                                   const std::vector<std::string>& scopes,
                                   const std::optional<Credential>& credential);
  absl::StatusOr<std::optional<Credential>> FindCredential();
  absl::Status WantsLogin(bool has_login) const;

  const std::string domain_;
  const std::string host_;  // where it lives
  const RegistryOptions options_;
  const std::optional<Credential> given_credential_;
  HttpClient http_;
  mutable std::mutex mutex_;
  std::string scheme_;
  bool may_fall_back_ = false;  // to plain HTTP
  std::optional<std::string> basic_;
  std::map<std::string, Token> tokens_;  // by scopes
};

}  // namespace container::oci
