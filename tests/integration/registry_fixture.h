// Debian's docker-registry on a free loopback port, for tests that want a real one.
//
//   auto registry = *RegistryFixture::Start();
//   registry->Fill("oci:/some/layout:tag", "team/app:1");  // by skopeo
//   registry->Reference("team/app:1");                     // "127.0.0.1:PORT/team/app:1"
//   registry->CountRequests("GET", "/blobs/sha256:…");     // from its access log
//
// Its storage lies in a temporary folder and goes with the object, as does the process.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "base/subprocess.h"

namespace container::testing {

/// A TCP port of 127.0.0.1 that was free a moment ago.
inline absl::StatusOr<int> FreePort() {
  base::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return base::ErrnoStatus("find a free port");
  }
  return ntohs(address.sin_port);
}

/// Runs a tool to its end; its error output is the error.
inline absl::StatusOr<std::string> RunTool(const std::string& program,
                                           std::vector<std::string> arguments) {
  base::SubprocessSpec spec;
  spec.program = program;
  spec.arguments = std::move(arguments);
  ASSIGN_OR_RETURN(const base::CommandResult result,
                   base::RunCommand(std::move(spec), std::chrono::seconds(120)), program);
  if (result.end != base::ProcessEnd{}) {
    return absl::InternalError(absl::StrCat(program, ": ", result.standard_error));
  }
  return result.standard_output;
}

class RegistryFixture {
 public:
  /// Returns when the registry listens. `extra_yaml` goes to the end of its configuration,
  /// `extra_http` (", tls: {…}") to the end of the part about HTTP.
  static absl::StatusOr<std::unique_ptr<RegistryFixture>> Start(
      const std::string& extra_yaml = "", const std::string& extra_http = "") {
    ASSIGN_OR_RETURN(base::TemporaryDirectory folder,
                     base::TemporaryDirectory::Create("registry-"));
    std::unique_ptr<RegistryFixture> fixture(new RegistryFixture(std::move(folder)));
    RETURN_IF_ERROR(fixture->Run(extra_yaml, extra_http), "start docker-registry");
    return fixture;
  }

  ~RegistryFixture() {
    Stop();
    if (reader_.joinable()) reader_.join();
  }

  /// Ends the process; its storage stays as long as the object.
  void Stop() {
    if (process_) process_->TerminateOrKill(std::chrono::seconds(2)).IgnoreError();
    process_.reset();
  }

  std::string Address() const { return absl::StrCat("127.0.0.1:", port_); }
  std::string Reference(const std::string& name) const {
    return absl::StrCat(Address(), "/", name);
  }

  /// Copies an image in by skopeo, all platforms of it. `source` in skopeo's words.
  absl::Status Fill(const std::string& source, const std::string& name) const {
    return RunTool("skopeo", {"copy", "--all", "--quiet", "--insecure-policy", "--preserve-digests",
                              "--dest-tls-verify=false", source, "docker://" + Reference(name)})
        .status();
  }

  /// Where the registry keeps a blob's bytes.
  std::string BlobFile(const std::string& digest) const {
    const std::string hex = digest.substr(digest.find(':') + 1);
    return absl::StrCat(folder_.path(), "/data/docker/registry/v2/blobs/sha256/", hex.substr(0, 2),
                        "/", hex, "/data");
  }

  /// Lines of the access log with that method and this in their path. A line may come a moment
  /// after the answer: pass what to wait for, at most 5 seconds.
  int CountRequests(const std::string& method, const std::string& part, int at_least = 0) {
    std::unique_lock lock(mutex_);
    int count = 0;
    changed_.wait_for(lock, std::chrono::seconds(5), [&] {
      count = 0;
      for (const std::string& line : lines_) {
        const size_t quote = line.find(absl::StrCat("\"", method, " "));
        if (quote != std::string::npos && line.find(part, quote) != std::string::npos) ++count;
      }
      return count >= at_least;
    });
    return count;
  }

 private:
  explicit RegistryFixture(base::TemporaryDirectory folder) : folder_(std::move(folder)) {}

  absl::Status Run(const std::string& extra_yaml, const std::string& extra_http) {
    ASSIGN_OR_RETURN(port_, FreePort());
    const std::string config = folder_.path() + "/config.yml";
    RETURN_IF_ERROR(base::WriteFileAtomically(
        config, absl::StrCat("version: 0.1\nlog: {level: info}\nstorage:\n  filesystem: "
                             "{rootdirectory: ",
                             folder_.path(), "/data}\n  delete: {enabled: true}\nhttp: {addr: ",
                             Address(), extra_http, "}\n", extra_yaml)));
    ASSIGN_OR_RETURN(base::FdPair output, base::MakePipe());
    base::SubprocessSpec spec;
    spec.program = "docker-registry";
    spec.arguments = {"serve", config};
    spec.environment = {"OTEL_TRACES_EXPORTER=none", "PATH=/usr/bin:/bin"};
    spec.fds = {{output.second.get(), 1}, {output.second.get(), 2}};
    ASSIGN_OR_RETURN(base::Subprocess process, base::Subprocess::Spawn(spec));
    process_ = std::make_unique<base::Subprocess>(std::move(process));
    output_ = std::move(output.first);
    output.second.Reset();
    reader_ = std::thread([this] { ReadLog(); });
    std::unique_lock lock(mutex_);
    const bool listens = changed_.wait_for(lock, std::chrono::seconds(20), [&] {
      if (ended_) return true;
      for (const std::string& line : lines_) {
        if (absl::StrContains(line, "listening on")) return true;
      }
      return false;
    });
    if (!listens || ended_) {
      return absl::UnavailableError(lines_.empty() ? "it says nothing" : lines_.back());
    }
    return absl::OkStatus();
  }

  void ReadLog() {
    std::string rest;
    std::vector<char> buffer(64 << 10);
    for (;;) {
      const auto count = base::ReadSome(output_.get(), buffer);
      const std::lock_guard lock(mutex_);
      if (!count.ok() || *count == 0) {
        ended_ = true;
        changed_.notify_all();
        return;
      }
      rest.append(buffer.data(), *count);
      for (size_t end; (end = rest.find('\n')) != std::string::npos; rest.erase(0, end + 1)) {
        lines_.push_back(rest.substr(0, end));
      }
      changed_.notify_all();
    }
  }

  base::TemporaryDirectory folder_;
  int port_ = 0;
  std::unique_ptr<base::Subprocess> process_;
  base::Fd output_;
  std::thread reader_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> lines_;
  bool ended_ = false;
};

}  // namespace container::testing
