// What the system takes of the disk, and what of it nobody needs.
//
// All sizes are bytes of the disk's blocks; a file with several names counts once.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/client.h"

namespace container::cli {

/// Adds the images that containers were made from to what `options` says is in use.
absl::Status FindImagesInUse(Client& client, PruneOptions& options);

struct UsageRow {
  std::string title;  // "Root file systems"
  std::string key;    // "rootFilesystems"
  int64_t total = 0;
  int64_t active = 0;
  int64_t size_bytes = 0;
  int64_t reclaimable_bytes = 0;  // by `system prune -a`
};

/// The rows of `system df`.
absl::StatusOr<std::vector<UsageRow>> MeasureDisk(Client& client);

struct PrunedContainers {
  std::vector<std::string> ids;
  int64_t reclaimed_bytes = 0;
  absl::Status status;  // the first that could not be deleted
};
/// Deletes all containers that have ended or never started.
absl::StatusOr<PrunedContainers> PruneContainers(Client& client);

}  // namespace container::cli
