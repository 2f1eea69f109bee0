// Reads images from an OCI archive, an OCI layout folder or a docker archive into the store.
//
// Archives may be plain, gzip or zstd; they are read once, front to back, each file straight into
// the store's staging area while it is hashed. Images are named only when all of the archive is
// verified and unpacked; what no image turns out to need is removed again, as is everything after
// an error.
//
// Names: of an OCI entry, the annotation io.containerd.image.name, else
// org.opencontainers.image.ref.name where it looks like a whole reference (it has a "/" or ":");
// of a docker archive, its RepoTags. An image without one is named "untagged@sha256:…".
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

/// Errors: INVALID_ARGUMENT (no archive that we know, or a malformed one), DATA_LOSS (damaged or
/// cut short), NOT_FOUND (no such file), those of root_builder.h.
absl::StatusOr<std::vector<store::NamedImage>> Load(store::ContentStore& store,
                                                    const std::string& path, Reporter& reporter,
                                                    const Cancelled& cancelled);

}  // namespace container::images
