#include "apiserver/system/kernels.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "apiserver/system/kernel_file.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/uuid.h"

namespace container::apiserver {
namespace {

namespace fs = std::filesystem;

constexpr char kRecommendedPrefix[] = "recommended-";
constexpr int64_t kLargestDownloadBytes = int64_t{2} << 30;

bool IsUrl(absl::string_view text) {
  return absl::StartsWith(text, "http://") || absl::StartsWith(text, "https://");
}

size_t WriteToFd(char* data, size_t size, size_t count, void* fd) {
  const bool ok =
      base::WriteAll(*static_cast<int*>(fd), absl::string_view(data, size * count)).ok();
  return ok ? size * count : 0;
}

absl::Status Download(const std::string& url, const std::string& target) {
  ASSIGN_OR_RETURN(base::Fd file, base::Open(target, O_WRONLY | O_CREAT | O_EXCL, 0600));
  std::unique_ptr<CURL, void (*)(CURL*)> curl(curl_easy_init(), curl_easy_cleanup);
  if (curl == nullptr) return absl::InternalError("libcurl does not start");
  int fd = file.get();
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(curl.get(), CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXREDIRS, 10L);
  curl_easy_setopt(curl.get(), CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, 30L);
  // No progress for a minute is the end; a big file over a slow line is not.
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_LOW_SPEED_TIME, 60L);
  curl_easy_setopt(curl.get(), CURLOPT_MAXFILESIZE_LARGE, curl_off_t{kLargestDownloadBytes});
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, &WriteToFd);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &fd);
  const CURLcode result = curl_easy_perform(curl.get());
  if (result == CURLE_OK) return absl::OkStatus();
  if (result == CURLE_WRITE_ERROR) {
    return absl::ResourceExhaustedError(
        absl::StrCat("can't write ", target, ": is the disk full?"));
  }
  return absl::UnavailableError(
      absl::StrCat("can't download ", url, ": ", curl_easy_strerror(result)));
}

absl::Status CheckDigest(const std::string& file, const std::string& what,
                         const std::string& digest) {
  if (digest.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::string actual, Sha256OfFile(file));
  if (absl::StrCat("sha256:", actual) == digest || actual == digest) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(what, " has the digest sha256:", actual, ", and ", digest,
                                          " was expected: it is another file, or damaged"));
}

absl::Status ExtractMember(const std::string& archive, const std::string& member,
                           const std::string& target) {
  ASSIGN_OR_RETURN(base::Fd output, base::Open(target, O_WRONLY | O_CREAT | O_EXCL, 0600));
  ASSIGN_OR_RETURN(base::FdPair errors, base::MakePipe());
  base::SubprocessSpec spec;
  spec.program = "tar";
  // To a descriptor: a member's own path, links and modes then mean nothing.
  spec.arguments = {"--extract", "--to-stdout", "--file", archive, "--", member};
  spec.fds = {{output.get(), 1}, {errors.second.get(), 2}};
  ASSIGN_OR_RETURN(base::Subprocess tar, base::Subprocess::Spawn(spec));
  errors.second.Reset();
  ASSIGN_OR_RETURN(std::string message, base::ReadAll(errors.first.get(), 1 << 20));
  ASSIGN_OR_RETURN(base::ProcessEnd end, tar.Wait());
  if (end.ShellStatus() == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("can't take ", member, " from ", archive, ": ",
                                                 absl::StripSuffix(message, "\n")));
}

}  // namespace

std::string Kernels::DefaultPath() const {
  std::error_code error;
  const fs::path path = fs::canonical(paths_.DefaultKernel(), error);
  return error ? "" : path.string();
}

absl::StatusOr<std::string> Kernels::Install(const std::string& file, absl::string_view name_prefix,
                                             bool force) {
  ASSIGN_OR_RETURN(KernelInfo info, InspectKernel(file));
  ASSIGN_OR_RETURN(std::string hash, Sha256OfFile(file));
  std::string release = info.release.empty() ? "vmlinux" : info.release;
  for (char& c : release) {
    if (c == '/') c = '_';
  }
  const std::string name = absl::StrCat(name_prefix, release, "-", hash.substr(0, 12));
  const std::string path = absl::StrCat(paths_.Kernels(), "/", name);
  std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(base::MakeDirectories(paths_.Kernels()));
  if (force || ::access(path.c_str(), F_OK) != 0) {
    const std::string staged = absl::StrCat(paths_.Kernels(), "/.new-", base::RandomHex(6));
    absl::Status copied = base::CopySparse(file, staged, 0400);
    // By size and time InstallRecommendedIfNeeded knows later, without reading it, what this is.
    struct stat source;
    if (copied.ok() && ::stat(file.c_str(), &source) == 0) {
      const timespec times[2] = {source.st_atim, source.st_mtim};
      ::utimensat(AT_FDCWD, staged.c_str(), times, 0);
    }
    if (copied.ok() && ::rename(staged.c_str(), path.c_str()) != 0) {
      copied = base::ErrnoStatus(absl::StrCat("rename ", staged));
    }
    if (!copied.ok()) {
      base::RemoveFile(staged).IgnoreError();
      return copied;
    }
  }
  const std::string link = absl::StrCat(paths_.Kernels(), "/.default-", base::RandomHex(6));
  if (::symlink(name.c_str(), link.c_str()) != 0) return base::ErrnoStatus("symlink " + link);
  if (::rename(link.c_str(), paths_.DefaultKernel().c_str()) != 0) {
    absl::Status status = base::ErrnoStatus(absl::StrCat("rename ", link));
    base::RemoveFile(link).IgnoreError();
    return status;
  }
  RETURN_IF_ERROR(base::SyncDirectory(paths_.Kernels()));
  return path;
}

absl::StatusOr<std::string> Kernels::InstallShipped(bool force) {
  if (::access(paths_.RecommendedKernel().c_str(), R_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "no kernel came with this installation (", paths_.RecommendedKernel(),
        " is missing): build one with 'make kernel', or name one with 'container system kernel set "
        "--binary' or [kernel] in config.toml"));
  }
  return Install(paths_.RecommendedKernel(), kRecommendedPrefix, force);
}

absl::Status Kernels::InstallRecommendedIfNeeded() {
  const std::string current = DefaultPath();
  if (!current.empty()) {
    if (!absl::StartsWith(fs::path(current).filename().string(), kRecommendedPrefix)) {
      return absl::OkStatus();
    }
    struct stat installed, shipped;
    if (::stat(current.c_str(), &installed) != 0 ||
        ::stat(paths_.RecommendedKernel().c_str(), &shipped) != 0) {
      return absl::OkStatus();
    }
    if (installed.st_size == shipped.st_size &&
        installed.st_mtim.tv_sec == shipped.st_mtim.tv_sec &&
        installed.st_mtim.tv_nsec == shipped.st_mtim.tv_nsec) {
      return absl::OkStatus();
    }
    // The same content with another time must get the new time, so that it is not read every time.
    return InstallShipped(true).status();
  }
  return InstallShipped(false).status();
}

absl::StatusOr<std::string> Kernels::InstallRecommended(bool force) {
  if (!config_.kernel_url.empty()) {
    if (!config_.kernel_binary_path.empty()) {
      return InstallArchive(config_.kernel_url, config_.kernel_binary_path, config_.kernel_digest,
                            force);
    }
    ASSIGN_OR_RETURN(base::TemporaryDirectory folder, base::TemporaryDirectory::Create());
    const std::string file = folder.path() + "/vmlinux";
    RETURN_IF_ERROR(Download(config_.kernel_url, file));
    RETURN_IF_ERROR(CheckDigest(file, config_.kernel_url, config_.kernel_digest));
    return Install(file, "", force);
  }
  if (!config_.kernel_binary_path.empty()) return Install(config_.kernel_binary_path, "", force);
  return InstallShipped(force);
}

absl::StatusOr<std::string> Kernels::InstallBinary(const std::string& path, bool force) {
  if (!absl::StartsWith(path, "/")) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is not an absolute path"));
  }
  return Install(path, "", force);
}

absl::StatusOr<std::string> Kernels::InstallArchive(const std::string& location,
                                                    const std::string& member,
                                                    const std::string& digest, bool force) {
  if (member.empty()) {
    return absl::InvalidArgumentError(
        "the kernel's path in the archive is missing: name it with --binary");
  }
  ASSIGN_OR_RETURN(base::TemporaryDirectory folder, base::TemporaryDirectory::Create());
  std::string archive = location;
  if (IsUrl(location)) {
    archive = folder.path() + "/archive";
    RETURN_IF_ERROR(Download(location, archive));
  } else if (!absl::StartsWith(location, "/")) {
    return absl::InvalidArgumentError(absl::StrCat("'", location, "' is not an absolute path"));
  }
  if (::access(archive.c_str(), R_OK) != 0) return base::ErrnoStatus(archive);
  RETURN_IF_ERROR(CheckDigest(archive, location, digest));
  const std::string file = folder.path() + "/vmlinux";
  RETURN_IF_ERROR(ExtractMember(archive, member, file));
  auto installed = Install(file, "", force);
  return installed.ok()
             ? installed
             : base::Annotate(installed.status(), absl::StrCat(member, " of ", location));
}

}  // namespace container::apiserver
