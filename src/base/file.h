// Whole files: read, replaced so that no reader ever sees half of one, folders made and removed.
#pragma once

#include <sys/types.h>

#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::base {

/// Reads a file; RESOURCE_EXHAUSTED past `limit_bytes`, NOT_FOUND if it is not there.
absl::StatusOr<std::string> ReadFile(const std::string& path, size_t limit_bytes = 16 << 20);

/// Writes a temporary file beside `path`, fsyncs it, renames it over `path`, fsyncs the folder.
/// After a crash the path holds the old content or the new.
absl::Status WriteFileAtomically(const std::string& path, absl::string_view content,
                                 mode_t mode = 0600);

/// mkdir -p. New folders get `mode`; existing ones are left as they are.
absl::Status MakeDirectories(const std::string& path, mode_t mode = 0700);

/// Makes `path` if needed and insists that it is a folder (not a link) of this user with no access
/// for others: PERMISSION_DENIED otherwise. For folders that hold sockets.
absl::Status MakePrivateDirectory(const std::string& path);

/// fsync(2) of a folder, which makes renames and new names in it durable.
absl::Status SyncDirectory(const std::string& path);

/// rm -r. OK if nothing is there. Never follows a link.
absl::Status RemoveTree(const std::string& path);

/// unlink(2); OK if nothing is there.
absl::Status RemoveFile(const std::string& path);

/// Copies a file with its holes kept (lseek SEEK_DATA), as a reflink where the file system can.
/// The target must not exist.
absl::Status CopySparse(const std::string& source, const std::string& target, mode_t mode = 0600);

/// An exclusive flock(2) on `path` (made if needed), held as long as the Fd lives. UNAVAILABLE if
/// another process holds it and `wait` is false.
absl::StatusOr<Fd> LockFile(const std::string& path, bool wait);

/// mkdtemp(3) under `parent` with `prefix`.
absl::StatusOr<std::string> MakeTemporaryDirectory(const std::string& parent,
                                                   absl::string_view prefix);

/// mkdtemp in $TMPDIR or /tmp; removed with all it holds when the object dies. For tests and
/// staging.
class TemporaryDirectory {
 public:
  static absl::StatusOr<TemporaryDirectory> Create(absl::string_view prefix = "container-");
  TemporaryDirectory(TemporaryDirectory&& other) noexcept : path_(std::move(other.path_)) {
    other.path_.clear();
  }
  TemporaryDirectory& operator=(TemporaryDirectory&&) = delete;
  ~TemporaryDirectory();
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

}  // namespace container::base
