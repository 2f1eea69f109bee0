// Writes images into one archive that everybody reads: an OCI image layout as a tar stream, with
// the manifest.json that docker wants beside it.
//
// The same images give the same bytes. Blobs keep their compression. Of an index, what is here is
// written; the index itself stays as it is, so that its digest survives the journey.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/oci/platform.h"
#include "plugins/core_images/oci/reference.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

struct SaveOptions {
  std::vector<std::string> references;  // at least one; names or digests
  std::string default_domain = std::string(oci::kDefaultDomain);
  std::optional<oci::Platform> platform;  // only this variant of each
};

/// Gets the archive's bytes in order.
using ArchiveSink = std::function<absl::Status(absl::string_view)>;

/// The names that are in the archive. NOT_FOUND (no such image, or not for the platform), DATA_LOSS
/// (a blob in the store is damaged), those of the sink unchanged.
absl::StatusOr<std::vector<std::string>> Save(store::ContentStore& store,
                                              const SaveOptions& options, const ArchiveSink& sink,
                                              Reporter& reporter, const Cancelled& cancelled);

/// Into a file (0600), which appears when it is whole; a file that is there is replaced, and a
/// device or fifo is written to.
absl::StatusOr<std::vector<std::string>> SaveFile(store::ContentStore& store,
                                                  const SaveOptions& options,
                                                  const std::string& path, Reporter& reporter,
                                                  const Cancelled& cancelled);

}  // namespace container::images
