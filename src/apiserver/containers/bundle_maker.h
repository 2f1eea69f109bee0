// Builds containers' bundles: milliseconds and kilobytes each, whatever the image's size.
//
// The root file system is a hard link to the image's EROFS file. The writable layer is a sparse
// copy of a pristine ext4 image that mke2fs(8) made once: 64 GiB to the guest, some 100 KiB on
// disk, because all its metadata is packed at the front and its inode tables are holes that mke2fs
// and the kernel know to be zero (assume_storage_prezeroed: no lazy initialisation in the guest
// either). It keeps a journal: a VM may be killed at any moment, and the container be started again
// from the same file without a check; the journal's 16 MiB are a hole until they are used.
//
// A bundle is built under a name that no container can have and renamed when it is whole; so is it
// removed. Clean() takes away what a crash left between.
//
// Thread-safe. Errors: RESOURCE_EXHAUSTED (disk full), FAILED_PRECONDITION (no mke2fs), NOT_FOUND.
#pragma once

#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "base/paths.h"
#include "model/container.h"

namespace container::apiserver {

class BundleMaker {
 public:
  explicit BundleMaker(base::Paths paths) : paths_(std::move(paths)) {}

  /// ALREADY_EXISTS if there is such a bundle. `rootfs` is the EROFS file to link.
  absl::Status Make(const model::ContainerConfiguration& configuration, const std::string& rootfs);

  /// Takes the bundle out of sight, which frees its name, and returns where it lies until Dispose;
  /// "" if there is none.
  absl::StatusOr<std::string> Remove(const std::string& id);
  /// Removes what Remove returned from disk. What can't be removed is tried again by Clean.
  static void Dispose(const std::string& removed);

  /// Removes half-made and half-removed bundles. Only before the first Make.
  absl::Status Clean();

  /// The pristine writable layer, made now if it is not there.
  absl::StatusOr<std::string> WritableTemplate();

 private:
  absl::Status Fill(const base::Bundle& bundle, const model::ContainerConfiguration& configuration,
                    const std::string& rootfs);

  const base::Paths paths_;
  std::mutex template_mutex_;
};

}  // namespace container::apiserver
