#include "plugins/core_images/oci/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/version.h"

namespace container::oci {
namespace {

constexpr long kConnectTimeoutSeconds = 20;
constexpr long kStallBytesPerSecond = 16;
constexpr int kRedirectLimit = 8;
constexpr size_t kErrorBodyLimit = 16 << 10;
constexpr size_t kHeaderLimit = 256 << 10;
constexpr long kReceiveBufferBytes = 512 << 10;
constexpr long kSendBufferBytes = 512 << 10;
constexpr char kMayPassPayload[] = "container/may-pass";
constexpr char kTlsPayload[] = "container/tls";

bool HasContent(long status) { return status == 200 || status == 206; }

// The state of one exchange, seen by libcurl's callbacks.
struct Exchange {
  CURL* curl = nullptr;
  const HttpRequest* request = nullptr;
  const Cancelled* cancelled = nullptr;
  HttpResponse response;
  size_t header_bytes = 0;
  int64_t sent_bytes = 0;
  bool head_seen = false;
  absl::Status error;
};

size_t OnBody(char* data, size_t, size_t size, void* opaque) {
  Exchange& exchange = *static_cast<Exchange*>(opaque);
  long status = 0;
  curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
  if (!HasContent(status)) {
    const size_t room = kErrorBodyLimit - exchange.response.error_body.size();
    exchange.response.error_body.append(data, std::min(size, room));
    // What follows is of no use; an endless one must not hold us.
    return size <= room ? size : 0;
  }
  if (!std::exchange(exchange.head_seen, true) && exchange.request->on_head) {
    exchange.response.status = status;
    exchange.error = exchange.request->on_head(exchange.response);
    if (!exchange.error.ok()) return 0;
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

size_t OnRead(char* buffer, size_t, size_t size, void* opaque) {
  Exchange& exchange = *static_cast<Exchange*>(opaque);
  const HttpRequest& request = *exchange.request;
  if (request.body_fd < 0) {
    const absl::string_view rest = absl::string_view(request.body).substr(exchange.sent_bytes);
    const size_t count = std::min(size, rest.size());
    std::copy_n(rest.data(), count, buffer);
    exchange.sent_bytes += static_cast<int64_t>(count);
    return count;
  }
  const int64_t left = request.body_size_bytes - exchange.sent_bytes;
  const ssize_t count = ::pread(request.body_fd, buffer, std::min<int64_t>(left, size),
                                request.body_offset + exchange.sent_bytes);
  if (count < 0) {
    exchange.error = base::ErrnoStatus("read what is to be sent");
    return CURL_READFUNC_ABORT;
  }
  exchange.sent_bytes += count;
  if (request.on_sent) request.on_sent(exchange.sent_bytes);
  return static_cast<size_t>(count);
}

int OnSeek(void* opaque, curl_off_t offset, int origin) {
  if (origin != SEEK_SET) return CURL_SEEKFUNC_CANTSEEK;
  static_cast<Exchange*>(opaque)->sent_bytes = offset;
  return CURL_SEEKFUNC_OK;
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

absl::Status Marked(absl::Status status, const char* payload) {
  status.SetPayload(payload, absl::Cord("1"));
  return status;
}

absl::Status CurlStatus(CURLcode code, const char* detail, const std::string& url,
                        bool was_connected) {
  const std::string origin = UrlOrigin(url);
  const std::string why = detail[0] != '\0' ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_ABORTED_BY_CALLBACK:
      return absl::CancelledError("the transfer was cancelled");
    case CURLE_OPERATION_TIMEDOUT: {
      const absl::Status status = absl::DeadlineExceededError(
          absl::StrCat(origin, " does not answer: ", why, "; try again later"));
      // To connect, we have waited long enough.
      return was_connected ? Marked(status, kMayPassPayload) : status;
    }
    case CURLE_COULDNT_CONNECT: {
      const absl::Status status = absl::UnavailableError(absl::StrCat(
          "can't connect to ", origin, ": ", why, "; check that the registry is running"));
      // Nothing that is not there on this host will be there in a second.
      return IsLoopbackHost(UrlHost(url)) ? status : Marked(status, kMayPassPayload);
    }
    case CURLE_COULDNT_RESOLVE_HOST:
      return absl::UnavailableError(
          absl::StrCat(why, "; check the registry's name and this host's network"));
    case CURLE_SSL_CONNECT_ERROR:
      return Marked(absl::UnavailableError(
                        absl::StrCat("no TLS connection to ", origin, ": ", why,
                                     "; if the registry speaks plain HTTP, use --scheme http")),
                    kTlsPayload);
    case CURLE_PEER_FAILED_VERIFICATION:
      return absl::UnavailableError(absl::StrCat(
          "the certificate of ", origin, " is not trusted: ", why,
          "; name its CA in config.toml, as 'ca' in [registry.hosts.\"", UrlAuthority(url), "\"]"));
    case CURLE_SSL_CACERT_BADFILE:
      return absl::InvalidArgumentError(
          absl::StrCat("can't read the CA file for ", origin, ": ", why));
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
      return absl::InvalidArgumentError(absl::StrCat("can't fetch '", url, "': ", why));
    default:
      return Marked(absl::UnavailableError(
                        absl::StrCat("the connection to ", origin, " broke: ", why, "; try again")),
                    kMayPassPayload);
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

bool MayPass(const absl::Status& status) { return status.GetPayload(kMayPassPayload).has_value(); }

bool IsTlsFailure(const absl::Status& status) { return status.GetPayload(kTlsPayload).has_value(); }

HttpClient::HttpClient(HttpOptions options, Cancelled cancelled)
    : options_(std::move(options)), cancelled_(std::move(cancelled)) {
  static const CURLcode initialized = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)initialized;
}

HttpClient::~HttpClient() = default;

absl::Status HttpClient::Wait(std::chrono::milliseconds time) const {
  // A caller's cancellation can't wake us, so look for it now and then.
  constexpr auto kLookEvery = std::chrono::milliseconds(50);
  const auto end = std::chrono::steady_clock::now() + time;
  for (;;) {
    if (cancelled_ && cancelled_()) return absl::CancelledError("cancelled while waiting");
    const auto left = end - std::chrono::steady_clock::now();
    if (left <= left.zero()) return absl::OkStatus();
    std::this_thread::sleep_for(std::min<std::chrono::steady_clock::duration>(left, kLookEvery));
  }
}

absl::StatusOr<HttpResponse> HttpClient::Send(const HttpRequest& request) {
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
        SendOnce(*handle, request, url, UrlOrigin(url) == origin, redirect);
    if (!response.ok()) return response;
    const bool reads = request.method == "GET" || request.method == "HEAD";
    if (redirect.empty() || !(reads || response->status == 307 || response->status == 308)) {
      response->url = url;
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

absl::StatusOr<HttpResponse> HttpClient::SendOnce(Handle& handle, const HttpRequest& request,
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
  for (const std::string& header : request.headers) {
    headers = curl_slist_append(headers, header.c_str());
  }
  if (!request.content_type.empty()) {
    headers =
        curl_slist_append(headers, absl::StrCat("Content-Type: ", request.content_type).c_str());
  }
  const std::string range = absl::StrCat(request.range_start, "-");
  if (request.range_start > 0) curl_easy_setopt(curl, CURLOPT_RANGE, range.c_str());
  if (request.method == "HEAD") {
    curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  } else if (request.method != "GET") {
    // Waiting for the server's leave costs a round trip, and all but the first request of an upload
    // come authorized.
    headers = curl_slist_append(headers, "Expect:");
    const int64_t size =
        request.body_fd < 0 ? static_cast<int64_t>(request.body.size()) : request.body_size_bytes;
    curl_easy_setopt(curl, CURLOPT_UPLOAD, 1L);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(curl, CURLOPT_INFILESIZE_LARGE, static_cast<curl_off_t>(size));
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, kSendBufferBytes);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, OnRead);
    curl_easy_setopt(curl, CURLOPT_READDATA, &exchange);
    curl_easy_setopt(curl, CURLOPT_SEEKFUNCTION, OnSeek);
    curl_easy_setopt(curl, CURLOPT_SEEKDATA, &exchange);
  }
  const auto tls = options_.tls.find(UrlAuthority(url));
  if (tls != options_.tls.end()) {
    // The system's folder of certificates (CURLOPT_CAPATH) stays in force beside the file.
    if (!tls->second.ca_file.empty()) {
      curl_easy_setopt(curl, CURLOPT_CAINFO, tls->second.ca_file.c_str());
    }
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYPEER, tls->second.insecure ? 0L : 1L);
    curl_easy_setopt(curl, CURLOPT_SSL_VERIFYHOST, tls->second.insecure ? 0L : 2L);
  }
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  curl_easy_setopt(curl, CURLOPT_USERAGENT, agent.c_str());
  curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, kConnectTimeoutSeconds);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, kStallBytesPerSecond);
  curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, static_cast<long>(options_.stall_timeout.count()));
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
  curl_off_t retry_after = 0;
  curl_easy_getinfo(curl, CURLINFO_RETRY_AFTER, &retry_after);
  exchange.response.retry_after_seconds = retry_after;
  char* next = nullptr;
  curl_easy_getinfo(curl, CURLINFO_REDIRECT_URL, &next);
  if (next != nullptr) redirect = next;
  curl_slist_free_all(headers);
  // The buffers above are gone when the handle is used next.
  curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, nullptr);

  if (!exchange.error.ok()) return exchange.error;
  const bool cut_error_body = code == CURLE_WRITE_ERROR && !HasContent(exchange.response.status);
  curl_off_t ready_us = 0;  // when the connection and its TLS stood
  curl_easy_getinfo(curl, CURLINFO_PRETRANSFER_TIME_T, &ready_us);
  if (code != CURLE_OK && !cut_error_body) return CurlStatus(code, detail, url, ready_us > 0);
  return std::move(exchange.response);
}

std::string UrlOrigin(const std::string& url) {
  const std::string scheme = absl::AsciiStrToLower(UrlPart(url, CURLUPART_SCHEME));
  const std::string host = absl::AsciiStrToLower(UrlPart(url, CURLUPART_HOST));
  if (scheme.empty() || host.empty()) return "";
  const std::string port = UrlPart(url, CURLUPART_PORT, CURLU_NO_DEFAULT_PORT);
  return absl::StrCat(scheme, "://", host, port.empty() ? "" : ":", port);
}

std::string UrlAuthority(const std::string& url) {
  const std::string origin = UrlOrigin(url);
  const size_t start = origin.find("://");
  return start == std::string::npos ? "" : origin.substr(start + 3);
}

std::string ResolveUrl(const std::string& base, const std::string& location) {
  CURLU* parsed = curl_url();
  char* text = nullptr;
  std::string result;
  if (curl_url_set(parsed, CURLUPART_URL, base.c_str(), 0) == CURLUE_OK &&
      curl_url_set(parsed, CURLUPART_URL, location.c_str(), 0) == CURLUE_OK &&
      curl_url_get(parsed, CURLUPART_URL, &text, 0) == CURLUE_OK) {
    result = text;
  }
  curl_free(text);
  curl_url_cleanup(parsed);
  return result;
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
                      absl::AsciiStrToUpper(
                          absl::StrCat(absl::Hex(static_cast<unsigned char>(c), absl::kZeroPad2))));
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
