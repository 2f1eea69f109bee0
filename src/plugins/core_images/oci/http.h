// HTTP GET by libcurl: bounded, cancellable, with redirects followed by hand so that credentials
// stay with the server they are meant for.
//
// Proxies come from libcurl's environment variables (https_proxy, no_proxy, …), but are never used
// for this host's own addresses.
//
// Errors: UNAVAILABLE (the server can't be reached, or the connection broke), DEADLINE_EXCEEDED
// (it stalled), CANCELLED, RESOURCE_EXHAUSTED (over a bound), those of the sink unchanged. An HTTP
// status of any kind is no error here.
// Threads: HttpClient may be used by several at once.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::oci {

/// True when the work is no longer wanted.
using Cancelled = std::function<bool()>;

struct HttpRequest {
  std::string url;
  std::vector<std::string> accept;  // media types
  std::string authorization;        // the whole value; sent to the origin of `url` only
  /// Gets the body of a 200 answer, piece by piece.
  std::function<absl::Status(absl::string_view)> sink;
};

struct HttpResponse {
  long status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string error_body;                           // the start of what a status but 200 came with

  /// The first header of that name, or "".
  std::string Header(const std::string& name) const;
};

class HttpClient {
 public:
  explicit HttpClient(Cancelled cancelled);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  absl::StatusOr<HttpResponse> Get(const HttpRequest& request);

 private:
  class Handle;
  absl::StatusOr<HttpResponse> GetOnce(Handle& handle, const HttpRequest& request,
                                       const std::string& url, bool authorize,
                                       std::string& redirect);

  Cancelled cancelled_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_;  // keep their connections
};

/// "scheme://host[:port]" in lower case with the default port left out; "" if `url` has none.
std::string UrlOrigin(const std::string& url);
/// The host of a URL, without port and brackets.
std::string UrlHost(const std::string& url);
/// Percent-encodes a query value.
std::string UrlEncode(absl::string_view text);

/// True for localhost and literal loopback addresses.
bool IsLoopbackHost(absl::string_view host);
/// Also for literal private and link-local addresses (RFC 1918, RFC 4193, RFC 3927).
bool IsPrivateHost(absl::string_view host);

}  // namespace container::oci
