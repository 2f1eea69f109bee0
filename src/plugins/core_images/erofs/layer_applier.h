// Applies a layer's tar to a tree, as the OCI image specification's "Image Layer Filesystem
// Changeset" says.
//
// - Names are relative to the root, a leading "/" or not; ".." in them is refused.
// - Links in the middle of a name are followed inside the root: ".." and absolute targets never
//   lead out of it.
// - A folder over a folder keeps what is in it and takes the new attributes; any other entry
//   replaces what is there. Folders that are missing are made, 0755 and root's.
// - ".wh.NAME" and ".wh..wh..opq" hide what lower layers have, never what the layer itself has,
//   in whatever order they come. Other names that begin with ".wh..wh." are bookkeeping of AUFS
//   and are skipped.
// - Of extended attributes, those are kept that EROFS knows: user., trusted., security. and POSIX
//   ACLs; trusted.overlay.* would mean something to the guest's overlayfs and is dropped.
//
// Errors: INVALID_ARGUMENT for entries that can't be obeyed, those of the reader, the tree and the
// writer; all name the entry.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "plugins/core_images/archive/tar_reader.h"
#include "plugins/core_images/erofs/image_writer.h"
#include "plugins/core_images/erofs/tree.h"

namespace container::erofs {

/// Called now and then with the bytes of the tar that are done.
using Progress = std::function<void(uint64_t tar_bytes)>;

class LayerApplier {
 public:
  /// `layer` counts from 1. Tree and writer must outlive it.
  LayerApplier(Tree& tree, ImageWriter& writer, uint32_t layer)
      : tree_(tree), writer_(writer), layer_(layer) {}

  /// Applies all entries and reads the source to its end.
  absl::Status Apply(archive::TarReader& reader, const Progress& progress);

 private:
  absl::Status ApplyEntry(archive::TarReader& reader, const archive::TarEntry& entry);
  absl::Status ApplyFolder(const archive::TarEntry& entry, Inode* parent, std::string_view name);
  absl::Status WriteContent(archive::TarReader& reader, Inode& inode);
  absl::Status SetAttributes(const archive::TarEntry& entry, Inode& inode);
  absl::StatusOr<Inode*> WalkCached(std::string_view path);
  absl::StatusOr<Inode*> Walk(std::string_view path, bool create);
  absl::StatusOr<Inode*> FindLinkTarget(std::string_view path);

  Tree& tree_;
  ImageWriter& writer_;
  uint32_t layer_;
  // Entries of one folder come together. Forgotten when anything is replaced or removed.
  std::string cached_path_;
  Inode* cached_folder_ = nullptr;
  Progress progress_;
  uint64_t reported_ = 0;
};

/// The attributes as the image has them behind an inode, or nothing if none of them is kept.
absl::StatusOr<std::string> EncodeXattrs(
    const std::map<std::string, std::string, std::less<>>& xattrs);

}  // namespace container::erofs
