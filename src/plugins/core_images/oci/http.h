// HTTP by libcurl: bounded, cancellable, with redirects followed by hand so that credentials stay
// with the server they are meant for.
//
// Proxies come from libcurl's environment variables (https_proxy, no_proxy, …), but are never used
// for this host's own addresses.
//
// Errors: UNAVAILABLE (the server can't be reached, or the connection broke), DEADLINE_EXCEEDED
// (it stalled), CANCELLED, RESOURCE_EXHAUSTED (over a bound), those of the callbacks unchanged. An
// HTTP status of any kind is no error here.
// Threads: HttpClient may be used by several at once.
#pragma once

#include <chrono>
#include <cstdint>
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

struct HttpResponse;

struct HttpRequest {
  std::string method = "GET";  // GET, HEAD, POST, PUT, PATCH
  std::string url;
  std::vector<std::string> accept;   // media types
  std::vector<std::string> headers;  // further ones, "Name: value"
  std::string authorization;         // the whole value; sent to the origin of `url` only
  int64_t range_start = 0;           // above 0: asks for the content from that byte on

  // What is sent: `body`, or a part of an open file. Redirects that would send it again are
  // followed only where the server says that the method stays (307, 308).
  std::string content_type;
  std::string body;
  int body_fd = -1;  // not owned; read by pread(2)
  int64_t body_offset = 0;
  int64_t body_size_bytes = 0;
  std::function<void(int64_t sent_bytes)> on_sent;  // of the file, without the offset

  /// Sees a 200 or 206 answer before its body.
  std::function<absl::Status(const HttpResponse&)> on_head;
  /// Gets the body of a 200 or 206 answer, piece by piece.
  std::function<absl::Status(absl::string_view)> sink;
};

struct HttpResponse {
  long status = 0;
  std::multimap<std::string, std::string> headers;  // names in lower case
  std::string error_body;           // the start of what any other status than 200 and 206 came with
  std::string url;                  // that gave it, after redirects
  int64_t retry_after_seconds = 0;  // as the server asks for it, or 0

  /// The first header of that name, or "".
  std::string Header(const std::string& name) const;
};

/// What makes a server trusted.
struct TlsSettings {
  std::string ca_file;    // of certificates to trust as well as the system's
  bool insecure = false;  // any certificate will do

  friend bool operator==(const TlsSettings&, const TlsSettings&) = default;
};

struct HttpOptions {
  /// A transfer that hardly moves for so long is given up.
  std::chrono::seconds stall_timeout{30};
  std::map<std::string, TlsSettings> tls;  // by UrlAuthority, of exactly that port
};

/// True if a status of HttpClient::Send tells of something that may pass, such as a connection that
/// broke.
bool MayPass(const absl::Status& status);
/// True if it tells that no TLS connection came about.
bool IsTlsFailure(const absl::Status& status);

class HttpClient {
 public:
  HttpClient(HttpOptions options, Cancelled cancelled);
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  absl::StatusOr<HttpResponse> Send(const HttpRequest& request);

  /// Waits; CANCELLED when the work is no longer wanted.
  absl::Status Wait(std::chrono::milliseconds time) const;

 private:
  class Handle;
  absl::StatusOr<HttpResponse> SendOnce(Handle& handle, const HttpRequest& request,
                                        const std::string& url, bool authorize,
                                        std::string& redirect);

  const HttpOptions options_;
  Cancelled cancelled_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Handle>> idle_;  // keep their connections
};

/// "scheme://host[:port]" in lower case with the default port left out; "" if `url` has none.
std::string UrlOrigin(const std::string& url);
/// "host[:port]" of it.
std::string UrlAuthority(const std::string& url);
/// The host of a URL, without port and brackets.
std::string UrlHost(const std::string& url);
/// `location`, which may be relative, as seen from `base`; "" if it is none.
std::string ResolveUrl(const std::string& base, const std::string& location);
/// Percent-encodes a query value.
std::string UrlEncode(absl::string_view text);

/// True for localhost and literal loopback addresses.
bool IsLoopbackHost(absl::string_view host);
/// Also for literal private and link-local addresses (RFC 1918, RFC 4193, RFC 3927).
bool IsPrivateHost(absl::string_view host);

}  // namespace container::oci
