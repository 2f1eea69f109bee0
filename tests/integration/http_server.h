// An HTTP server of a test's own, for answers that no real server gives: token servers, redirects,
// bodies that stall or lie.
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/fd.h"

namespace container::testing {

struct TestRequest {
  std::string head;  // request line and headers
  std::string path;  // with the query
  std::string body;
  /// A header's value, or "".
  std::string Header(const std::string& name) const {
    const std::string lower = absl::AsciiStrToLower(head);
    const size_t at = lower.find(absl::StrCat("\r\n", name, ": "));
    if (at == std::string::npos) return "";
    const size_t start = at + name.size() + 4;
    return head.substr(start, head.find("\r\n", start) - start);
  }
};

struct TestResponse {
  int status = 200;
  std::string headers;  // "Name: value\r\n" each
  std::string body;
  /// Bytes of the body to send before the connection is left hanging; negative: all, then close.
  int64_t hang_after_bytes = -1;
  /// What Content-Length says; negative: the truth.
  int64_t claimed_bytes = -1;
};

/// Serves each connection in a thread of its own, one request each.
class TestHttpServer {
 public:
  using Handler = std::function<TestResponse(const TestRequest&)>;

  /// Where `cut` returns a number that is not negative, the connection breaks behind so many bytes
  /// of the request's body, and the handler gets these.
  using Cut = std::function<int64_t(const TestRequest&)>;
  explicit TestHttpServer(Handler handler, Cut cut = nullptr)
      : handler_(std::move(handler)), cut_(std::move(cut)) {
    listener_ = base::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    ::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    ::listen(listener_.get(), 64);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { Accept(); });
  }

  ~TestHttpServer() {
    stop_ = true;
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    {
      const std::lock_guard lock(mutex_);
      for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
    }
    for (std::thread& worker : workers_) worker.join();
  }

  std::string Address() const { return absl::StrCat("127.0.0.1:", port_); }
  /// Another name of the same server: another host to a client that guards credentials.
  std::string OtherAddress() const { return absl::StrCat("localhost:", port_); }

  std::vector<TestRequest> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  void Accept() {
    for (;;) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0 || stop_) {
        base::Fd closed(fd);
        return;
      }
      const std::lock_guard lock(mutex_);
      open_.push_back(fd);
      workers_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    TestRequest request;
    char buffer[4096];
    while (request.head.find("\r\n\r\n") == std::string::npos) {
      const ssize_t count = ::recv(fd, buffer, sizeof buffer, 0);
      if (count <= 0) return Close(fd);
      request.head.append(buffer, count);
    }
    request.body = request.head.substr(request.head.find("\r\n\r\n") + 4);
    request.head.resize(request.head.size() - request.body.size());
    const size_t start = request.head.find(' ') + 1;
    request.path = request.head.substr(start, request.head.find(' ', start) - start);
    const std::string length = request.Header("content-length");
    size_t size = length.empty() ? 0 : std::stoul(length);
    const int64_t cut = cut_ ? cut_(request) : -1;
    if (cut >= 0) size = std::min<size_t>(size, cut);
    while (request.body.size() < size) {
      const ssize_t count = ::recv(fd, buffer, sizeof buffer, 0);
      if (count <= 0) return Close(fd);
      request.body.append(buffer, count);
    }
    if (cut >= 0) request.body.resize(std::min(request.body.size(), size));
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    const TestResponse response = handler_(request);
    if (cut >= 0) return Close(fd);
    if (absl::StartsWith(request.head, "HEAD ")) {
      Send(fd, absl::StrCat("HTTP/1.1 ", response.status,
                            " Status\r\nContent-Length: ", response.body.size(),
                            "\r\nConnection: close\r\n", response.headers, "\r\n"));
      return Close(fd);
    }
    const int64_t claimed = response.claimed_bytes < 0 ? static_cast<int64_t>(response.body.size())
                                                       : response.claimed_bytes;
    std::string text =
        absl::StrCat("HTTP/1.1 ", response.status, " Status\r\nContent-Length: ", claimed,
                     "\r\nConnection: close\r\n", response.headers, "\r\n");
    text += response.hang_after_bytes < 0 ? response.body
                                          : response.body.substr(0, response.hang_after_bytes);
    Send(fd, text);
    // Until the client has had enough, or the test ends.
    if (response.hang_after_bytes >= 0) ::recv(fd, buffer, sizeof buffer, 0);
    Close(fd);
  }

  static void Send(int fd, const std::string& text) {
    for (size_t sent = 0; sent < text.size();) {
      const ssize_t count = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
      if (count <= 0) return;
      sent += count;
    }
  }

  void Close(int fd) {
    const std::lock_guard lock(mutex_);
    std::erase(open_, fd);
    ::shutdown(fd, SHUT_WR);
    base::Fd closed(fd);
  }

  Handler handler_;
  Cut cut_;
  base::Fd listener_;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  std::mutex mutex_;
  std::vector<int> open_;
  std::vector<TestRequest> requests_;
  std::vector<std::thread> workers_;
  std::thread thread_;
};

}  // namespace container::testing
