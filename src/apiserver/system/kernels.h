// The guest kernels of an app root: kernels/<name>, and kernels/default, a link to the one in use.
//
// A kernel is checked, copied under a temporary name, renamed, and only then linked: what default
// names is always whole. Names are "<release>-<12 digits of its SHA-256>", so that running VMs keep
// theirs; the recommended one has "recommended-" before it and is replaced when a new installation
// brings another.
//
// Thread-safe; blocks. Errors: INVALID_ARGUMENT (no kernel), NOT_FOUND, DATA_LOSS (digest),
// UNAVAILABLE (download), FAILED_PRECONDITION (nothing recommended), ALREADY_EXISTS.
#pragma once

#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "base/paths.h"
#include "model/system_config.h"

namespace container::apiserver {

class Kernels {
 public:
  Kernels(base::Paths paths, model::SystemConfig config)
      : paths_(std::move(paths)), config_(std::move(config)) {}

  /// The default kernel's own path, with links resolved; "" if there is none.
  std::string DefaultPath() const;

  /// Makes the kernel that came with the installation the default, if there is no default or if it
  /// was an older recommended one. FAILED_PRECONDITION if none came with it.
  absl::Status InstallRecommendedIfNeeded();

  absl::StatusOr<std::string> InstallRecommended(bool force);
  absl::StatusOr<std::string> InstallBinary(const std::string& path, bool force);
  /// `location`: absolute path or http(s) URL of a tar archive, compressed or not; `digest`:
  /// "sha256:…" of the archive, or "".
  absl::StatusOr<std::string> InstallArchive(const std::string& location, const std::string& member,
                                             const std::string& digest, bool force);

 private:
  absl::StatusOr<std::string> Install(const std::string& file, absl::string_view name_prefix,
                                      bool force);
  absl::StatusOr<std::string> InstallShipped(bool force);

  const base::Paths paths_;
  const model::SystemConfig config_;
  std::mutex mutex_;
};

}  // namespace container::apiserver
