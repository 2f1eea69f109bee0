// The images that are in the store, as people name and see them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "plugins/core_images/images/progress.h"
#include "plugins/core_images/images/resolve.h"
#include "plugins/core_images/oci/reference.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {

// Where a function takes a name from a user, `default_domain` is where one without a registry
// leads.

/// The image object of `image inspect`: {id, configuration{name, creationDate, descriptor},
/// variants[{platform, digest, size, config, layers}]}, layers being descriptors. A variant's size
/// is that of its manifest, configuration and layers; variants that are not in the store in full
/// are left out.
std::string ImageJson(store::ContentStore& store, const store::NamedImage& image);

/// Finds an image by a name in any form, "name@sha256:…", or 12 or more digits of its digest (with
/// or without "sha256:"). NOT_FOUND; FAILED_PRECONDITION if digits fit several images.
absl::StatusOr<store::NamedImage> FindImage(const store::ContentStore& store,
                                            absl::string_view text,
                                            absl::string_view default_domain = oci::kDefaultDomain);

/// Gives the image `source` the further name `target`, which becomes normalized.
absl::StatusOr<store::NamedImage> Tag(store::ContentStore& store, absl::string_view source,
                                      absl::string_view target,
                                      absl::string_view default_domain = oci::kDefaultDomain);

struct Deletion {
  std::string name;
  int64_t reclaimed_bytes = 0;
  absl::Status sweep_status;  // not OK: the name is gone, but not the content
};
/// Removes a name and what nothing else needs. By digest only where the digest has one name:
/// FAILED_PRECONDITION otherwise.
absl::StatusOr<Deletion> Delete(store::ContentStore& store, absl::string_view text,
                                absl::string_view default_domain = oci::kDefaultDomain);

struct ImageUsage {
  int64_t images = 0;
  int64_t images_in_use = 0;
  store::StoreUsage store;
};
/// What all images take, and what pruning all that is not in use would give back.
absl::StatusOr<ImageUsage> DiskUsage(const store::ContentStore& store,
                                     const std::vector<std::string>& in_use_references,
                                     const std::vector<std::string>& in_use_digests);

struct PruneOptions {
  bool all = false;                            // also images with names, unless in use
  std::vector<std::string> in_use_references;  // names in any form
  std::vector<std::string> in_use_digests;
};
struct Pruned {
  std::vector<std::string> names;  // removed
  int64_t reclaimed_bytes = 0;
};
/// Removes images that were loaded without a name (or all that are not in use), what interrupted
/// downloads have left, and all content that nothing needs.
absl::StatusOr<Pruned> Prune(store::ContentStore& store, const PruneOptions& options);

struct Root {
  std::string path;
  store::NamedImage image;
  Variant variant;
};
/// The root file system of an image in the store, built if it isn't there. NOT_FOUND also if the
/// image's variant for `platform` was never fetched.
absl::StatusOr<Root> PrepareRoot(store::ContentStore& store, absl::string_view text,
                                 const oci::Platform& platform, Reporter& reporter,
                                 const Cancelled& cancelled,
                                 absl::string_view default_domain = oci::kDefaultDomain);

}  // namespace container::images
