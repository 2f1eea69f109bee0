// An image's layers as one read-only EROFS root file system: the entry point of this folder.
//
//   ASSIGN_OR_RETURN(auto flattener, Flattener::Create(staging_path));
//   for each layer, lowest first:
//     ASSIGN_OR_RETURN(auto layer, archive::Decompressor::Create(blob));
//     archive::ReadAhead ahead(*layer);   // inflating and hashing in a thread of their own
//     RETURN_IF_ERROR(flattener->AddLayer(ahead));
//     // AddLayer has read to the end: layer->Digest() is the diff_id.
//   ASSIGN_OR_RETURN(auto summary, flattener->Finish(chain_id));
//   // rename staging_path to where it belongs
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "plugins/core_images/archive/source.h"
#include "plugins/core_images/archive/tar_reader.h"
#include "plugins/core_images/erofs/image_writer.h"
#include "plugins/core_images/erofs/layer_applier.h"
#include "plugins/core_images/erofs/tree.h"

namespace container::erofs {

struct FlattenLimits {
  TreeLimits tree;
  archive::TarLimits tar;
  uint64_t image_bytes = uint64_t{1} << 40;  // holes of sparse files included
};

/// Threads: one at a time. One pass over each layer; memory for names and attributes only.
class Flattener {
 public:
  /// Makes `path` (0600), which must not exist: ALREADY_EXISTS.
  static absl::StatusOr<std::unique_ptr<Flattener>> Create(std::string path,
                                                           FlattenLimits limits = {});
  /// Without Finish, removes the file.
  ~Flattener();
  Flattener(const Flattener&) = delete;
  Flattener& operator=(const Flattener&) = delete;

  /// Applies the next layer upwards, an uncompressed tar, and reads `tar` to its end. After an
  /// error (see layer_applier.h and tar_reader.h) this object can only be destroyed.
  absl::Status AddLayer(archive::Source& tar, const Progress& progress = {});

  /// Completes the image and fsyncs it; the caller renames it and syncs the folder. `identity`,
  /// for example the layers' chain id, goes into the UUID. The file stays.
  absl::StatusOr<ImageSummary> Finish(std::string_view identity = {});

 private:
  Flattener(std::string path, base::Fd fd, FlattenLimits limits);

  std::string path_;
  base::Fd fd_;
  FlattenLimits limits_;
  Tree tree_;
  ImageWriter writer_;
  uint32_t layers_ = 0;
  absl::Status error_;
  bool finished_ = false;
};

}  // namespace container::erofs
