// Writes an EROFS image: files' content as it comes, everything else at the end.
//
// The image, in blocks of 4096 bytes:
//
//   block 0              superblock (at 1024) and the root folder's inode (at 1152)
//   files                in the order they came: content in whole blocks; between them chunks of
//                        metadata, each with the inodes of the files around it, their extended
//                        attributes and the last part-blocks of their content
//   metadata             inodes of folders, links, devices and empty files, and their last
//                        part-blocks
//   folders              the names, where they take whole blocks
//
// Memory doesn't grow with the files' content: a small file goes into the open metadata chunk, a
// large one straight to the file. What higher layers hid is a hole in the image. The same input
// gives the same bytes. See format.h for the sources.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/core_images/erofs/appender.h"
#include "plugins/core_images/erofs/tree.h"

namespace container::erofs {

struct ImageSummary {
  uint64_t image_bytes = 0;  // apparent size; holes make it take less on disk
  uint64_t inodes = 0;
  std::string uuid;  // in text form
};

class ImageWriter {
 public:
  /// Writes to `fd`, an empty file that it doesn't own. RESOURCE_EXHAUSTED for images larger than
  /// `limit_bytes` (16 TiB at most, by the format).
  ImageWriter(int fd, uint64_t limit_bytes);

  /// Places a regular file of `inode.size` bytes, all attributes set, and writes its inode.
  absl::Status BeginFile(Inode& inode);
  /// A part of the content of the file begun last, in ascending order; gaps are zeros.
  absl::Status WriteContent(uint64_t offset, std::span<const char> data);

  /// Writes all that is left and the superblock; the file is complete but not synced. The UUID is
  /// made from the metadata and `identity`.
  absl::StatusOr<ImageSummary> Finish(Tree& tree, std::string_view identity);

 private:
  absl::StatusOr<char*> AllocateMetadata(uint64_t size, bool in_one_block, uint64_t& position);
  absl::Status FlushChunk();
  absl::Status AllocateBlocks(uint64_t blocks, uint64_t& first);

  int fd_;
  uint64_t limit_blocks_;
  uint64_t next_block_ = 1;
  uint32_t next_number_ = 1;
  Appender content_;

  // The open chunk of metadata.
  std::vector<char> chunk_;
  uint64_t chunk_position_ = 0;
  uint64_t chunk_used_ = 0;
  uint64_t next_chunk_bytes_;

  // The file begun last.
  uint64_t file_position_ = 0;  // of its content's blocks
  uint64_t inline_offset_ = 0;  // content from here on lies behind the inode
  char* inline_data_ = nullptr;
};

/// Packs a folder's names, "." and ".." included, into directory blocks. For the writer and its
/// tests.
std::string PackFolder(const Inode& folder);

}  // namespace container::erofs
