#include "apiserver/containers/bundle_maker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/uuid.h"

namespace container::apiserver {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kWritableBytes = int64_t{64} << 30;
// The version of the options below; one more when they change.
constexpr char kWritableName[] = "64g-1.ext4";
// No container's id begins with a dot.
constexpr char kNewPrefix[] = ".new-";
constexpr char kGonePrefix[] = ".gone-";

/// Debian keeps mke2fs in /usr/sbin, which a user's PATH often lacks.
std::string FindMke2fs() {
  for (const char* path : {"/usr/sbin/mke2fs", "/sbin/mke2fs", "/usr/local/sbin/mke2fs"}) {
    if (::access(path, X_OK) == 0) return path;
  }
  return "mke2fs";
}

absl::Status MakeExt4(const std::string& path) {
  {
    ASSIGN_OR_RETURN(base::Fd file, base::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
    if (::ftruncate(file.get(), kWritableBytes) != 0) {
      return base::ErrnoStatus(absl::StrCat("make ", path, " 64 GiB long"));
    }
  }
  base::SubprocessSpec spec;
  spec.program = FindMke2fs();
  spec.arguments = {"-q", "-F", "-t", "ext4", "-b", "4096", "-I", "256", "-m", "0",
                    // Nothing will be resized, and backups of superblocks cost space in each copy.
                    "-O", "^resize_inode,sparse_super2", "-E",
                    "assume_storage_prezeroed=1,packed_meta_blocks=1,num_backup_sb=0,"
                    "root_owner=0:0",
                    "-J", "size=16", path};
  auto result = base::RunCommand(std::move(spec), std::chrono::seconds(60));
  if (absl::IsNotFound(result.status())) {
    return absl::FailedPreconditionError(
        "mke2fs is missing, which makes containers' writable layers: install e2fsprogs");
  }
  RETURN_IF_ERROR(result.status());
  if (absl::StrContains(result->standard_error, "No space left")) {
    return absl::ResourceExhaustedError("the disk is full: free some space");
  }
  if (result->end.ShellStatus() != 0) {
    return absl::InternalError(absl::StrCat("mke2fs ", result->end.ToString(), ": ",
                                            absl::StripSuffix(result->standard_error, "\n")));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> BundleMaker::WritableTemplate() {
  const std::string path = paths_.WritableTemplates() + "/" + kWritableName;
  std::lock_guard lock(template_mutex_);
  if (::access(path.c_str(), F_OK) == 0) return path;
  RETURN_IF_ERROR(base::MakeDirectories(paths_.WritableTemplates()));
  const std::string staged = absl::StrCat(path, ".", base::RandomHex(4));
  absl::Status made = MakeExt4(staged);
  if (made.ok() && ::chmod(staged.c_str(), 0400) != 0) made = base::ErrnoStatus("chmod " + staged);
  if (made.ok() && ::rename(staged.c_str(), path.c_str()) != 0) {
    made = base::ErrnoStatus("rename " + staged);
  }
  if (!made.ok()) {
    base::RemoveFile(staged).IgnoreError();
    return base::Annotate(made, "prepare the writable layer");
  }
  return path;
}

absl::Status BundleMaker::Fill(const base::Bundle& bundle,
                               const model::ContainerConfiguration& configuration,
                               const std::string& rootfs) {
  if (::link(rootfs.c_str(), bundle.RootFilesystem().c_str()) != 0) {
    if (errno != EXDEV && errno != EMLINK && errno != EPERM) {
      return base::ErrnoStatus(absl::StrCat("link ", rootfs));
    }
    RETURN_IF_ERROR(base::CopySparse(rootfs, bundle.RootFilesystem(), 0400));
  }
  ASSIGN_OR_RETURN(std::string pristine, WritableTemplate());
  RETURN_IF_ERROR(base::CopySparse(pristine, bundle.Writable(), 0600));
  return base::WriteFileAtomically(bundle.Configuration(), configuration.ToJson());
}

absl::Status BundleMaker::Make(const model::ContainerConfiguration& configuration,
                               const std::string& rootfs) {
  const std::string path = paths_.Bundle(configuration.id);
  if (::access(path.c_str(), F_OK) == 0) {
    return absl::AlreadyExistsError(absl::StrCat("the folder ", path, " is there already"));
  }
  const std::string staged = absl::StrCat(paths_.Containers(), "/", kNewPrefix, configuration.id);
  RETURN_IF_ERROR(base::RemoveTree(staged));
  RETURN_IF_ERROR(base::MakeDirectories(staged));
  absl::Status filled = Fill(base::Bundle{staged}, configuration, rootfs);
  if (filled.ok() && ::rename(staged.c_str(), path.c_str()) != 0) {
    filled = base::ErrnoStatus(absl::StrCat("rename ", staged));
  }
  if (!filled.ok()) {
    base::RemoveTree(staged).IgnoreError();
    return base::Annotate(filled, "build the container's bundle");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> BundleMaker::Remove(const std::string& id) {
  const std::string path = paths_.Bundle(id);
  const std::string gone =
      absl::StrCat(paths_.Containers(), "/", kGonePrefix, id, "-", base::RandomHex(4));
  if (::rename(path.c_str(), gone.c_str()) != 0) {
    if (errno == ENOENT) return std::string();
    return base::ErrnoStatus(absl::StrCat("rename ", path));
  }
  return gone;
}

void BundleMaker::Dispose(const std::string& removed) {
  if (!removed.empty()) base::RemoveTree(removed).IgnoreError();
}

absl::Status BundleMaker::Clean() {
  RETURN_IF_ERROR(base::MakeDirectories(paths_.Containers()));
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(paths_.Containers(), error)) {
    const std::string name = entry.path().filename();
    if (absl::StartsWith(name, kNewPrefix) || absl::StartsWith(name, kGonePrefix)) {
      RETURN_IF_ERROR(base::RemoveTree(entry.path()));
    }
  }
  if (error) return base::ErrnoStatus(error.value(), absl::StrCat("read ", paths_.Containers()));
  return absl::OkStatus();
}

}  // namespace container::apiserver
