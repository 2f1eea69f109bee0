#include "base/file.h"

#include <fcntl.h>
#include <ftw.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::base {
namespace {

std::string ParentOf(const std::string& path) {
  std::string parent = std::filesystem::path(path).parent_path();
  return parent.empty() ? "." : parent;
}

/// copy_file_range(2) where both files are on one file system that has it, else through memory.
absl::Status CopyRange(int source, int target, off_t start, off_t end) {
  off_t from = start;
  off_t to = start;
  while (from < end) {
    ssize_t count = ::copy_file_range(source, &from, target, &to, end - from, 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP) break;
      return ErrnoStatus("copy_file_range");
    }
    if (count == 0) return absl::DataLossError("the file shrank while it was copied");
  }
  std::string buffer(std::min<off_t>(end - from, 1 << 20), '\0');
  while (from < end) {
    const size_t wanted = std::min<off_t>(end - from, buffer.size());
    ssize_t count = ::pread(source, buffer.data(), wanted, from);
    if (count < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus("pread");
    }
    if (count == 0) return absl::DataLossError("the file shrank while it was copied");
    RETURN_IF_ERROR(PwriteAll(target, absl::string_view(buffer.data(), count), from));
    from += count;
  }
  return absl::OkStatus();
}

absl::Status CopyExtents(int source, int target) {
  struct stat info;
  if (::fstat(source, &info) != 0) return ErrnoStatus("fstat");
  if (::ioctl(target, FICLONE, source) == 0) return absl::OkStatus();
  if (::ftruncate(target, info.st_size) != 0) return ErrnoStatus("ftruncate");
  off_t position = 0;
  while (position < info.st_size) {
    off_t start = ::lseek(source, position, SEEK_DATA);
    if (start < 0) {
      if (errno == ENXIO) break;  // Nothing but a hole is left.
      return ErrnoStatus("lseek SEEK_DATA");
    }
    off_t end = ::lseek(source, start, SEEK_HOLE);
    if (end < 0) return ErrnoStatus("lseek SEEK_HOLE");
    RETURN_IF_ERROR(CopyRange(source, target, start, end));
    position = end;
  }
  return absl::OkStatus();
}

int RemoveEntry(const char* path, const struct stat*, int, struct FTW*) {
  return ::remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit_bytes) {
  ASSIGN_OR_RETURN(Fd fd, Open(path, O_RDONLY));
  auto content = ReadAll(fd.get(), limit_bytes);
  if (!content.ok()) return Annotate(content.status(), absl::StrCat("read ", path));
  return content;
}

absl::Status WriteFileAtomically(const std::string& path, absl::string_view content, mode_t mode) {
  static std::atomic<unsigned> counter = 0;
  const std::string temporary = absl::StrCat(path, ".tmp", ::getpid(), ".", counter++);
  ASSIGN_OR_RETURN(Fd fd, Open(temporary, O_WRONLY | O_CREAT | O_EXCL, mode));
  absl::Status written = WriteAll(fd.get(), content);
  if (written.ok() && ::fsync(fd.get()) != 0) written = ErrnoStatus("fsync");
  if (written.ok() && ::rename(temporary.c_str(), path.c_str()) != 0) {
    written = ErrnoStatus("rename");
  }
  if (!written.ok()) {
    ::unlink(temporary.c_str());
    return Annotate(written, absl::StrCat("write ", path));
  }
  return SyncDirectory(ParentOf(path));
}

absl::Status MakeDirectories(const std::string& path, mode_t mode) {
  if (path.empty() || path == "/") return absl::OkStatus();
  if (::mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  if (errno == ENOENT) {
    RETURN_IF_ERROR(MakeDirectories(ParentOf(path), mode));
    if (::mkdir(path.c_str(), mode) == 0) return absl::OkStatus();
  }
  const int error = errno;
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(path, " is not a directory"));
  }
  return ErrnoStatus(error, absl::StrCat("mkdir ", path));
}

absl::Status MakePrivateDirectory(const std::string& path) {
  RETURN_IF_ERROR(MakeDirectories(path, 0700));
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return ErrnoStatus(absl::StrCat("lstat ", path));
  if (!S_ISDIR(info.st_mode)) {
    return absl::PermissionDeniedError(absl::StrCat(path, " is not a directory"));
  }
  if (info.st_uid != ::geteuid()) {
    return absl::PermissionDeniedError(
        absl::StrCat(path, " belongs to uid ", info.st_uid, ", not to uid ", ::geteuid(),
                     ": remove it, or set XDG_RUNTIME_DIR to a directory of your own"));
  }
  if ((info.st_mode & 0077) != 0 && ::chmod(path.c_str(), 0700) != 0) {
    return ErrnoStatus(absl::StrCat("chmod ", path));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectory(const std::string& path) {
  ASSIGN_OR_RETURN(Fd fd, Open(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return ErrnoStatus(absl::StrCat("fsync ", path));
  return absl::OkStatus();
}

absl::Status RemoveTree(const std::string& path) {
  if (::nftw(path.c_str(), RemoveEntry, 32, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
    return ErrnoStatus(absl::StrCat("remove ", path));
  }
  return absl::OkStatus();
}

absl::Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(absl::StrCat("unlink ", path));
  }
  return absl::OkStatus();
}

absl::Status CopySparse(const std::string& source, const std::string& target, mode_t mode) {
  ASSIGN_OR_RETURN(Fd from, Open(source, O_RDONLY));
  ASSIGN_OR_RETURN(Fd to, Open(target, O_WRONLY | O_CREAT | O_EXCL, mode));
  absl::Status copied = CopyExtents(from.get(), to.get());
  if (!copied.ok()) ::unlink(target.c_str());
  return Annotate(copied, absl::StrCat("copy ", source, " to ", target));
}

absl::StatusOr<Fd> LockFile(const std::string& path, bool wait) {
  ASSIGN_OR_RETURN(Fd fd, Open(path, O_RDWR | O_CREAT, 0600));
  while (::flock(fd.get(), wait ? LOCK_EX : LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    return ErrnoStatus(absl::StrCat("lock ", path));
  }
  return fd;
}

absl::StatusOr<std::string> MakeTemporaryDirectory(const std::string& parent,
                                                   absl::string_view prefix) {
  std::string path = absl::StrCat(parent, "/", prefix, "XXXXXX");
  if (::mkdtemp(path.data()) == nullptr) return ErrnoStatus(absl::StrCat("mkdtemp ", path));
  return path;
}

absl::StatusOr<TemporaryDirectory> TemporaryDirectory::Create(absl::string_view prefix) {
  const char* parent = std::getenv("TMPDIR");
  ASSIGN_OR_RETURN(std::string path, MakeTemporaryDirectory(parent ? parent : "/tmp", prefix));
  return TemporaryDirectory(std::move(path));
}

TemporaryDirectory::~TemporaryDirectory() {
  if (!path_.empty()) RemoveTree(path_).IgnoreError();
}

}  // namespace container::base
