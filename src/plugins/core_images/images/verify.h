// Looks whether the content store is what it should be: every blob is hashed, every root file
// system looked at, here and where containers have linked it.
//
// A damaged blob or root is set aside, so that the next pull (or, for a root, the next run) puts a
// good one in its place. What the images need is pinned meanwhile.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

struct Fault {
  bool is_error = true;             // otherwise it mends itself or hurts nobody
  std::string subject;              // a digest, a root's file name, a container's id
  std::vector<std::string> images;  // the names that need it, sorted
  std::string message;              // what is wrong and what to do, a sentence
};

struct Verification {
  std::vector<Fault> faults;
  int64_t blobs = 0;  // looked at
  int64_t blob_bytes = 0;
  int64_t roots = 0;
  int64_t containers = 0;
};

/// `containers_folder` holds the containers' bundles. CANCELLED when `cancelled` turns true; other
/// errors only where a folder can't be listed. Threads: starts its own and joins them.
absl::StatusOr<Verification> VerifyStore(store::ContentStore& store,
                                         const std::string& containers_folder, Reporter& reporter,
                                         const Cancelled& cancelled);

/// Whether a file is a whole EROFS image, by its superblock, the checksum of it and the length:
/// DATA_LOSS; NOT_FOUND.
absl::Status CheckRootImage(const std::string& path);

}  // namespace container::images
