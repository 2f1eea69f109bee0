#include "plugins/core_images/erofs/image_writer.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/fd.h"
#include "base/status.h"
#include "fmt/format.h"
#include "plugins/core_images/erofs/format.h"

namespace container::erofs {
namespace {

constexpr uint64_t kRootPosition = kSuperOffset + sizeof(SuperBlock);
constexpr uint64_t kFirstChunkBytes = 16 << 10;
constexpr uint64_t kLargestChunkBytes = 256 << 10;
static_assert(kRootPosition % kNidBytes == 0 && kRootPosition / kNidBytes <= 0xffff);

// Calls `visit(name, inode)` for all names of a folder in the order of the names' bytes.
template <typename Visit>
void ForEachName(const Inode& folder, Visit visit) {
  static constexpr std::string_view kDots[] = {".", ".."};
  size_t dots = 0;
  const auto visit_dot = [&] {
    visit(kDots[dots], dots == 0 ? folder : *folder.folder->parent);
    ++dots;
  };
  for (const auto& [name, link] : folder.folder->links) {
    while (dots < 2 && kDots[dots] < name) visit_dot();
    visit(std::string_view(name), *link.inode);
  }
  while (dots < 2) visit_dot();
}

// Cuts a list of names into directory blocks.
struct BlockCounter {
  uint64_t blocks = 0;  // full ones
  uint64_t used = 0;    // in the last one

  // True if the name begins a new block.
  bool Add(size_t name_bytes) {
    const uint64_t bytes = kDirentBytes + name_bytes;
    const bool next = used + bytes > kBlockBytes;
    if (next) {
      ++blocks;
      used = 0;
    }
    used += bytes;
    return next;
  }
  uint64_t size() const { return blocks * kBlockBytes + used; }
};

uint64_t FolderBytes(const Inode& folder) {
  BlockCounter counter;
  ForEachName(folder, [&](std::string_view name, const Inode&) { counter.Add(name.size()); });
  return counter.size();
}

// Where the parts of an inode's payload go, before positions are known.
struct Layout {
  uint64_t metadata_bytes;  // inode, attributes and inline data
  uint64_t blocks;          // outside
  uint64_t inline_offset;   // payload from here on is inline
  bool is_inline;
};

Layout PlanInode(uint64_t xattr_bytes, uint64_t size, uint64_t room = kBlockBytes) {
  const uint64_t head = kInodeBytes + xattr_bytes;
  const uint64_t tail = size % kBlockBytes;
  if (tail > 0 && head + tail <= room) {
    return {head + tail, size / kBlockBytes, size - tail, true};
  }
  return {head, RoundUp(size, kBlockBytes) / kBlockBytes, size, false};
}

// Where in the metadata area something of `size` bytes may begin, at `offset` or later.
uint64_t AlignMetadata(uint64_t offset, uint64_t size, bool in_one_block) {
  offset = RoundUp(offset, kNidBytes);
  const uint64_t whole = in_one_block ? size : kInodeBytes;
  if (offset % kBlockBytes + whole > kBlockBytes) offset = RoundUp(offset, kBlockBytes);
  return offset;
}

DiskInode Encode(const Inode& inode, const Layout& layout, uint64_t size, uint32_t links) {
  DiskInode disk;
  disk.format = layout.is_inline ? kFormatFlatInline : kFormatFlatPlain;
  if (!inode.xattrs.empty()) {
    disk.xattr_count = static_cast<uint16_t>((inode.xattrs.size() - kXattrHeaderBytes) / 4 + 1);
  }
  disk.mode = inode.mode;
  disk.size = size;
  const bool device = S_ISCHR(inode.mode) || S_ISBLK(inode.mode);
  disk.block_or_device = device ? inode.device : static_cast<uint32_t>(inode.data_block);
  disk.number = inode.number;
  disk.uid = inode.uid;
  disk.gid = inode.gid;
  disk.mtime = inode.mtime_seconds;
  disk.mtime_nsec = inode.mtime_nanoseconds;
  disk.nlink = links;
  return disk;
}

std::span<const char> BytesOf(const DiskInode& disk) {
  return {reinterpret_cast<const char*>(&disk), sizeof(disk)};
}

struct EvpDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

// Hashes what is appended.
class HashingAppender {
 public:
  HashingAppender(int fd, EVP_MD_CTX* hash) : appender_(fd), hash_(hash) {}
  absl::Status Append(std::span<const char> data) {
    EVP_DigestUpdate(hash_, data.data(), data.size());
    return appender_.Append(data);
  }
  absl::Status SkipTo(uint64_t position) { return appender_.SkipTo(position); }
  absl::Status Flush() { return appender_.Flush(); }

 private:
  Appender appender_;
  EVP_MD_CTX* hash_;
};

}  // namespace

uint32_t Crc32c(std::string_view data) {
  uint32_t crc = ~uint32_t{0};
  for (const char c : data) {
    crc ^= static_cast<uint8_t>(c);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc;
}

std::string PackFolder(const Inode& folder) {
  struct Name {
    std::string_view name;
    const Inode* inode;
  };
  std::string packed;
  std::vector<Name> block;
  BlockCounter counter;
  const auto write_block = [&](bool last) {
    const size_t start = packed.size();
    uint16_t name_offset = static_cast<uint16_t>(block.size() * kDirentBytes);
    for (const Name& entry : block) {
      char dirent[kDirentBytes] = {};
      const uint64_t nid = entry.inode->position / kNidBytes;
      std::memcpy(dirent, &nid, sizeof(nid));
      std::memcpy(dirent + 8, &name_offset, sizeof(name_offset));
      dirent[10] = static_cast<char>(DirentType(entry.inode->mode));
      packed.append(dirent, sizeof(dirent));
      name_offset = static_cast<uint16_t>(name_offset + entry.name.size());
    }
    for (const Name& entry : block) packed.append(entry.name);
    if (!last) packed.resize(start + kBlockBytes);
    block.clear();
  };
  ForEachName(folder, [&](std::string_view name, const Inode& inode) {
    if (counter.Add(name.size())) write_block(false);
    block.push_back({name, &inode});
  });
  write_block(true);
  return packed;
}

ImageWriter::ImageWriter(int fd, uint64_t limit_bytes)
    : fd_(fd),
      limit_blocks_(std::min(limit_bytes / kBlockBytes, uint64_t{0xfffffffe})),
      content_(fd),
      next_chunk_bytes_(kFirstChunkBytes) {}

absl::Status ImageWriter::AllocateBlocks(uint64_t blocks, uint64_t& first) {
  if (blocks > limit_blocks_ || next_block_ > limit_blocks_ - blocks) {
    return absl::ResourceExhaustedError(
        fmt::format("the image gets larger than {} bytes", limit_blocks_ * kBlockBytes));
  }
  first = next_block_;
  next_block_ += blocks;
  return absl::OkStatus();
}

absl::Status ImageWriter::FlushChunk() {
  const uint64_t used = RoundUp(chunk_used_, kBlockBytes);
  chunk_used_ = 0;
  if (used == 0) return absl::OkStatus();
  return base::PwriteAll(fd_, {chunk_.data(), used}, static_cast<off_t>(chunk_position_));
}

absl::StatusOr<char*> ImageWriter::AllocateMetadata(uint64_t size, bool in_one_block,
                                                    uint64_t& position) {
  uint64_t offset = AlignMetadata(chunk_used_, size, in_one_block);
  if (offset + size > chunk_.size()) {
    RETURN_IF_ERROR(FlushChunk());
    const uint64_t bytes = std::max(next_chunk_bytes_, RoundUp(size, kBlockBytes));
    next_chunk_bytes_ = std::min(2 * next_chunk_bytes_, kLargestChunkBytes);
    uint64_t block = 0;
    RETURN_IF_ERROR(AllocateBlocks(bytes / kBlockBytes, block));
    chunk_.assign(bytes, 0);
    chunk_position_ = block * kBlockBytes;
    offset = 0;
  }
  chunk_used_ = offset + size;
  position = chunk_position_ + offset;
  return chunk_.data() + offset;
}

absl::Status ImageWriter::BeginFile(Inode& inode) {
  if (inode.size > limit_blocks_ * kBlockBytes) {
    return absl::ResourceExhaustedError(
        fmt::format("the image gets larger than {} bytes", limit_blocks_ * kBlockBytes));
  }
  const Layout layout = PlanInode(inode.xattrs.size(), inode.size);
  ASSIGN_OR_RETURN(char* memory,
                   AllocateMetadata(layout.metadata_bytes, layout.is_inline, inode.position));
  if (layout.blocks > 0) {
    RETURN_IF_ERROR(AllocateBlocks(layout.blocks, inode.data_block));
    inode.data_blocks = layout.blocks;
  }
  inode.number = next_number_++;
  inode.links_written = 1;
  const DiskInode disk = Encode(inode, layout, inode.size, 1);
  std::memcpy(memory, &disk, sizeof(disk));
  std::memcpy(memory + sizeof(disk), inode.xattrs.data(), inode.xattrs.size());
  file_position_ = inode.data_block * kBlockBytes;
  inline_offset_ = layout.inline_offset;
  inline_data_ = memory + sizeof(disk) + inode.xattrs.size();
  // They are in the image now.
  inode.xattrs = std::string();
  return absl::OkStatus();
}

absl::Status ImageWriter::WriteContent(uint64_t offset, std::span<const char> data) {
  if (offset < inline_offset_) {
    const std::span<const char> blocks =
        data.first(std::min<uint64_t>(data.size(), inline_offset_ - offset));
    RETURN_IF_ERROR(content_.SkipTo(file_position_ + offset));
    RETURN_IF_ERROR(content_.Append(blocks));
    data = data.subspan(blocks.size());
    offset += blocks.size();
  }
  if (!data.empty())
    std::memcpy(inline_data_ + (offset - inline_offset_), data.data(), data.size());
  return absl::OkStatus();
}

absl::StatusOr<ImageSummary> ImageWriter::Finish(Tree& tree, std::string_view identity) {
  RETURN_IF_ERROR(content_.Flush());
  RETURN_IF_ERROR(FlushChunk());

  // Everything that has no place yet, from the top down; inodes of files get their link counts.
  Inode* root = tree.root();
  root->position = kRootPosition;
  std::vector<Inode*> order = {root};
  struct Placed {
    Layout layout;
    uint64_t size;
    uint32_t links;
  };
  std::vector<Placed> places;
  uint64_t inodes = 1;
  const uint64_t metadata_start = next_block_ * kBlockBytes;
  uint64_t metadata_end = metadata_start;
  uint64_t blocks = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    Inode* inode = order[i];
    uint64_t size = inode->target.size();
    uint32_t links = inode->links;
    uint64_t room = kBlockBytes;
    if (inode->is_folder()) {
      size = FolderBytes(*inode);
      links = 2;
      for (const auto& [name, link] : inode->folder->links) {
        Inode* child = link.inode;
        if (child->is_folder()) ++links;
        if (child->position == 0) {
          // A mark: it is in the list, should another name lead to it.
          child->position = ~uint64_t{0};
          order.push_back(child);
          ++inodes;
        } else if (child->links_written != 0 && child->links == 1) {
          ++inodes;
        } else if (child->links_written != 0 && child->links_written != child->links) {
          ++inodes;
          child->links_written = child->links;
          RETURN_IF_ERROR(base::PwriteAll(
              fd_, {reinterpret_cast<const char*>(&child->links), sizeof(child->links)},
              static_cast<off_t>(child->position + offsetof(DiskInode, nlink))));
        }
      }
    }
    if (inode == root) {
      room = kBlockBytes - kRootPosition;
      if (kInodeBytes + inode->xattrs.size() > room) {
        return absl::InvalidArgumentError("the root folder has too many extended attributes");
      }
    }
    const Layout layout = PlanInode(inode->xattrs.size(), size, room);
    inode->number = next_number_++;
    inode->data_blocks = layout.blocks;
    inode->data_block = blocks;  // counted from the end of the metadata for now
    blocks += layout.blocks;
    if (inode != root) {
      inode->position = AlignMetadata(metadata_end, layout.metadata_bytes, layout.is_inline);
      metadata_end = inode->position + layout.metadata_bytes;
    }
    places.push_back({layout, size, links});
  }
  const uint64_t metadata_blocks =
      RoundUp(metadata_end - metadata_start, kBlockBytes) / kBlockBytes;
  uint64_t first = 0;
  RETURN_IF_ERROR(AllocateBlocks(metadata_blocks + blocks, first));
  for (Inode* inode : order) {
    inode->data_block = inode->data_blocks == 0 ? 0 : inode->data_block + first + metadata_blocks;
  }

  std::unique_ptr<EVP_MD_CTX, EvpDeleter> hash(EVP_MD_CTX_new());
  if (!hash || EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("SHA-256 is not available");
  }
  EVP_DigestUpdate(hash.get(), identity.data(), identity.size());
  std::string head(kBlockBytes, '\0');
  HashingAppender metadata(fd_, hash.get());
  HashingAppender folders(fd_, hash.get());
  std::string packed;
  for (size_t i = 0; i < order.size(); ++i) {
    const Inode* inode = order[i];
    const Placed& place = places[i];
    const DiskInode disk = Encode(*inode, place.layout, place.size, place.links);
    if (inode->is_folder()) packed = PackFolder(*inode);
    const std::string_view payload = inode->is_folder() ? packed : inode->target;
    const std::string_view outside = payload.substr(0, place.layout.inline_offset);
    const std::string_view inside = payload.substr(place.layout.inline_offset);
    if (inode == root) {
      char* target = head.data() + kRootPosition;
      std::memcpy(target, &disk, sizeof(disk));
      target = std::copy(inode->xattrs.begin(), inode->xattrs.end(), target + sizeof(disk));
      std::copy(inside.begin(), inside.end(), target);
    } else {
      RETURN_IF_ERROR(metadata.SkipTo(inode->position));
      RETURN_IF_ERROR(metadata.Append(BytesOf(disk)));
      RETURN_IF_ERROR(metadata.Append(inode->xattrs));
      RETURN_IF_ERROR(metadata.Append(inside));
    }
    if (!outside.empty()) {
      RETURN_IF_ERROR(folders.SkipTo(inode->data_block * kBlockBytes));
      RETURN_IF_ERROR(folders.Append(outside));
    }
  }
  RETURN_IF_ERROR(metadata.Flush());
  RETURN_IF_ERROR(folders.Flush());

  for (const Tree::Extent& extent : tree.dropped()) {
    // Where the file system can't, hidden data merely takes space.
    if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(extent.block * kBlockBytes),
                  static_cast<off_t>(extent.blocks * kBlockBytes)) != 0 &&
        errno != EOPNOTSUPP && errno != ENOSYS) {
      return base::ErrnoStatus("give back the space of hidden files");
    }
  }

  SuperBlock super;
  super.root_nid = kRootPosition / kNidBytes;
  super.inodes = inodes;
  super.blocks = static_cast<uint32_t>(next_block_);
  EVP_DigestUpdate(hash.get(), head.data(), head.size());
  std::array<uint8_t, EVP_MAX_MD_SIZE> digest;
  EVP_DigestFinal_ex(hash.get(), digest.data(), nullptr);
  std::memcpy(super.uuid, digest.data(), sizeof(super.uuid));
  super.uuid[6] = (super.uuid[6] & 0x0f) | 0x80;  // RFC 9562: version 8, free to choose
  super.uuid[8] = (super.uuid[8] & 0x3f) | 0x80;
  std::memcpy(head.data() + kSuperOffset, &super, sizeof(super));
  super.checksum = Crc32c(std::string_view(head).substr(kSuperOffset));
  std::memcpy(head.data() + kSuperOffset, &super, sizeof(super));
  RETURN_IF_ERROR(base::PwriteAll(fd_, head, 0));
  if (ftruncate(fd_, static_cast<off_t>(next_block_ * kBlockBytes)) != 0) {
    return base::ErrnoStatus("set the image's size");
  }

  ImageSummary summary;
  summary.image_bytes = next_block_ * kBlockBytes;
  summary.inodes = inodes;
  for (size_t i = 0; i < sizeof(super.uuid); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) summary.uuid += '-';
    summary.uuid += fmt::format("{:02x}", super.uuid[i]);
  }
  return summary;
}

}  // namespace container::erofs
