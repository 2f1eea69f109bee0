#include "plugins/core_images/oci/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>

#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/version.h"

namespace container::oci {
namespace {

constexpr long kConnectTimeoutSeconds = 20;
constexpr long kStallSeconds = 30;
constexpr long kStallBytesPerSecond = 16;
constexpr int kRedirectLimit = 8;
constexpr size_t kErrorBodyLimit = 16 << 10;
constexpr size_t kHeaderLimit = 256 << 10;
constexpr long kReceiveBufferBytes = 512 << 10;

// The state of one exchange, seen by libcurl's callbacks.
struct Exchange {
  CURL* curl = nullptr;
  const HttpRequest* request = nullptr;
  const Cancelled* cancelled = nullptr;
  HttpResponse response;
  size_t header_bytes = 0;
  absl::Status error;
};

size_t OnBody(char* data, size_t, size_t size, void* opaque) {
  Exchange& exchange = *static_cast<Exchange*>(opaque);
  long status = 0;
  curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
  if (status != 200) {
    const size_t room = kErrorBodyLimit - exchange.response.error_body.size();
    exchange.response.error_body.append(data, std::min(size, room));
    // What follows is of no use; an endless one must not hold us.
    return size <= room ? size : 0;
  }
  if (!exchange.request->sink) return size;
  exchange.error = exchange.request->sink(absl::string_view(data, size));
  return exchange.error.ok() ? size : 0;
}

size_t OnHeader(char* data, size_t, size_t size, void* opaque) {
  Exchange& exchange = *static_cast<Exchange*>(opaque);
  exchange.header_bytes += size;
  if (exchange.header_bytes > kHeaderLimit) {
    exchange.error = absl::ResourceExhaustedError("the answer's headers are too long");
    return 0;
  }
  const absl::string_view line(data, size);
  if (absl::StartsWith(line, "HTTP/")) {
    // Of several heads (100 Continue, a proxy's CONNECT) the last one counts.
    exchange.response.headers.clear();
    return size;
  }
  const size_t colon = line.find(':');
  if (colon != absl::string_view::npos) {
    exchange.response.headers.emplace(
        absl::AsciiStrToLower(absl::StripAsciiWhitespace(line.substr(0, colon))),
        std::string(absl::StripAsciiWhitespace(line.substr(colon + 1))));
  }
  return size;
}

int OnProgress(void* opaque, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const Exchange& exchange = *static_cast<Exchange*>(opaque);
  return *exchange.cancelled && (*exchange.cancelled)() ? 1 : 0;
}

std::string UrlPart(const std::string& url, CURLUPart part, unsigned flags = 0) {
  CURLU* parsed = curl_url();
  char* text = nullptr;
  std::string result;
  if (curl_url_set(parsed, CURLUPART_URL, url.c_str(), 0) == CURLUE_OK &&
      curl_url_get(parsed, part, &text, flags) == CURLUE_OK) {
    result = text;
  }
  curl_free(text);
  curl_url_cleanup(parsed);
  return result;
}

absl::Status CurlStatus(CURLcode code, const char* detail, const std::string& url) {
  const std::string origin = UrlOrigin(url);
  const std::string why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
      return absl::CancelledError("the transfer was cancelled");
    case CURLE_OPERATION_TIMEDOUT:
      return absl::DeadlineExceededError(
          absl::StrCat(origin, " does not answer: ", why, "; try again later"));
    case CURLE_COULDNT_CONNECT:
      return absl::UnavailableError(absl::StrCat("can't connect to ", origin, ": ", why,
                                                 "; check that the registry is running"));
    case CURLE_COULDNT_RESOLVE_HOST:
      return absl::UnavailableError(
          absl::StrCat(why, "; check the registry's name and this host's network"));
    case CURLE_SSL_CONNECT_ERROR:
      return absl::UnavailableError(
          absl::StrCat("no TLS connection to ", origin, ": ", why,
                       "; if the registry speaks plain HTTP, use --scheme http"));
    case CURLE_PEER_FAILED_VERIFICATION:
      return absl::UnavailableError(
          absl::StrCat("the certificate of ", origin, " is not trusted: ", why));
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return absl::InvalidArgumentError(absl::StrCat("can't fetch '", url, "': ", why));
    default:
      return absl::UnavailableError(
          absl::StrCat("the connection to ", origin, " broke: ", why, "; try again"));
  }
}

bool ParseIpv4(absl::string_view host, uint32_t& address) {
  in_addr parsed;
  if (::inet_pton(AF_INET, std::string(host).c_str(), &parsed) != 1) return false;
  address = ntohl(parsed.s_addr);
  return true;
}

bool ParseIpv6(absl::string_view host, in6_addr& address) {
  return ::inet_pton(AF_INET6, std::string(host).c_str(), &address) == 1;
}

}  // namespace

class HttpClient::Handle {
 public:
  Handle() : curl_(curl_easy_init()) {}
  ~Handle() { curl_easy_cleanup(curl_); }
  CURL* get() const { return curl_; }

 private:
  CURL* curl_;
};

std::string HttpResponse::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

HttpClient::HttpClient(Cancelled cancelled) : cancelled_(std::move(cancelled)) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)initialized;
}

HttpClient::~HttpClient() = default;

absl::StatusOr<HttpResponse> HttpClient::Get(const HttpRequest& request) {
  std::unique_ptr<Handle> handle;
  {
    const std::lock_guard lock(mutex_);
    if (!idle_.empty()) {
      handle = std::move(idle_.back());
      idle_.pop_back();
    }
  }
  if (handle == nullptr) handle = std::make_unique<Handle>();
  if (handle->get() == nullptr) return absl::InternalError("libcurl could not start");

  const std::string origin = UrlOrigin(request.url);
  std::string url = request.url;
  for (int hop = 0; hop <= kRedirectLimit; ++hop) {
    std::string redirect;
    absl::StatusOr<HttpResponse> response =
        GetOnce(*handle, request, url, UrlOrigin(url) == origin, redirect);
    if (!response.ok()) return response;
    if (redirect.empty()) {
      const std::lock_guard lock(mutex_);
      idle_.push_back(std::move(handle));
      return response;
    }
    if (absl::StartsWith(url, "https://") && !absl::StartsWith(redirect, "https://")) {
      return absl::UnavailableError(
          absl::StrCat(UrlOrigin(url), " sends us on to an address without encryption"));
    }
    url = redirect;
  }
  return absl::UnavailableError(absl::StrCat(origin, " sends us from address to address"));
}

absl::StatusOr<HttpResponse> HttpClient::GetOnce(Handle& handle, const HttpRequest& request,
                                                 const std::string& url, bool authorize,
                                                 std::string& redirect) {
  CURL* curl = handle.get();
  curl_easy_reset(curl);
  Exchange exchange;
  exchange.curl = curl;
  exchange.request = &request;
  exchange.cancelled = &cancelled_;
  char detail[CURL_ERROR_SIZE] = "";
  const std::string agent = absl::StrCat("container/", base::kVersion);

  curl_slist* headers = nullptr;
  for (const std::string& type : request.accept) {
    headers = curl_slist_append(headers, absl::StrCat("Accept: ", type).c_str());
  }
  if (authorize && !request.authorization.empty()) {
    headers =
        curl_slist_append(headers, absl::StrCat("Authorization: ", request.authorization).c_str());
  }
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, agent.c_str());
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kStallBytesPerSecond);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, kStallSeconds);
  curl_easy_setopt(curl, CURLOPT_BUFFERSIZE, kReceiveBufferBytes);
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
  if (IsLoopbackHost(UrlHost(url))) curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");

  const CURLcode code = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &exchange.response.status);
  char* next = nullptr;
  curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &next);
  if (next != nullptr) redirect = next;
  curl_slist_free_all(headers);
  // The buffers above are gone when the handle is used next.
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);

  if (!exchange.error.ok()) return exchange.error;
  const bool cut_error_body = code == CURLE_WRITE_ERROR && exchange.response.status != 200;
  if (code != CURLE_OK && !cut_error_body) return CurlStatus(code, detail, url);
  return std::move(exchange.response);
}

std::string UrlOrigin(const std::string& url) {
  const std::string scheme = absl::AsciiStrToLower(UrlPart(url, CURLUPART_SCHEME));
  const std::string host = absl::AsciiStrToLower(UrlPart(url, CURLUPART_HOST));
  if (scheme.empty() || host.empty()) return "";
  const std::string port = UrlPart(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
  return absl::StrCat(scheme, "://", host, port.empty() ? "" : ":", port);
}

std::string UrlHost(const std::string& url) {
  std::string host = absl::AsciiStrToLower(UrlPart(url, CURLUPART_HOST));
  if (host.size() > 2 && host.front() == '[') host = host.substr(1, host.size() - 2);
  return host;
}

std::string UrlEncode(absl::string_view text) {
  std::string result;
  for (const char c : text) {
    if (absl::ascii_isalnum(c) || absl::StrContains("-._~", absl::string_view(&c, 1))) {
      result.push_back(c);
    } else {
      absl::StrAppend(&result, "%",
                      absl::AsciiStrToUpper(absl::StrCat(
                          absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2))));
    }
  }
  return result;
}

bool IsLoopbackHost(absl::string_view host) {
  if (host == "localhost" || absl::EndsWith(host, ".localhost")) return true;
  uint32_t v4 = 0;
  if (ParseIpv4(host, v4)) return v4 >> 24 == 127;
  in6_addr v6;
  return ParseIpv6(host, v6) && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool IsPrivateHost(absl::string_view host) {
  if (IsLoopbackHost(host)) return true;
  uint32_t v4 = 0;
  if (ParseIpv4(host, v4)) {
    return v4 >> 24 == 10 || v4 >> 20 == 0xac1 || v4 >> 16 == 0xc0a8 || v4 >> 16 == 0xa9fe;
  }
  in6_addr v6;
  if (!ParseIpv6(host, v6)) return false;
  return IN6_IS_ADDR_LINKLOCAL(&v6) || (v6.s6_addr[0] & 0xfe) == 0xfc;
}

}  // namespace container::oci
