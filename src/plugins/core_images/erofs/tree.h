// A root file system in memory, without its files' content: names, inodes, and which layer a name
// was last set by.
//
// Inodes are owned by the tree and shared by the names that link to them; they don't change once
// made, folders excepted. Memory: about 150 bytes a name plus the bytes of names, link targets and
// extended attributes. Threads: one at a time.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"

namespace container::erofs {

struct Inode;

/// A name in a folder.
struct Link {
  Inode* inode = nullptr;
  uint32_t layer = 0;  // the layer that set it; 0: made because something in it was needed
};

struct Folder {
  // Ordered by the names' bytes, as the image has them.
  absl::btree_map<std::string, Link, std::less<>> links;
  Inode* parent = nullptr;
};

struct Inode {
  uint16_t mode = 0;  // type and permissions
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint32_t mtime_nanoseconds = 0;
  int64_t mtime_seconds = 0;
  uint64_t size = 0;    // of a regular file's content
  uint32_t device = 0;  // as the image encodes it
  uint32_t links = 0;   // names; a folder has one
  std::string xattrs;   // as the image encodes them
  std::string target;   // of a symbolic link
  std::unique_ptr<Folder> folder;

  // Where it is in the image: set when content is written, else by the writer at the end.
  uint64_t position = 0;
  uint32_t number = 0;
  uint64_t data_block = 0;   // first block outside the metadata
  uint64_t data_blocks = 0;  // how many
  uint32_t links_written = 0;

  bool is_folder() const { return S_ISDIR(mode); }
  bool is_link() const { return S_ISLNK(mode); }
};

struct TreeLimits {
  uint64_t inodes = 10'000'000;
  uint64_t memory_bytes = uint64_t{2} << 30;  // approximately
};

class Tree {
 public:
  explicit Tree(TreeLimits limits = {});

  Inode* root() { return root_; }

  /// A new inode without a name. RESOURCE_EXHAUSTED past a limit.
  absl::StatusOr<Inode*> NewInode(uint16_t mode);
  /// Counts bytes that an inode or a name holds.
  absl::Status Charge(uint64_t bytes);

  /// Sets a name, replacing what it named.
  absl::Status Set(Inode* folder, std::string_view name, Inode* inode, uint32_t layer);
  /// Removes a name and all below it; nothing happens if it isn't there.
  void Remove(Inode* folder, std::string_view name);
  /// Removes what layers before `layer` put below `folder`; folders that hold something of `layer`
  /// stay, as plain ones if `layer` didn't set them.
  void RemoveLower(Inode* folder, uint32_t layer);
  /// Removes what layers before `layer` put at a name and below it.
  void RemoveLowerName(Inode* folder, std::string_view name, uint32_t layer);
  /// nullptr if the name isn't there.
  static Link* Find(Inode* folder, std::string_view name);

  struct Extent {
    uint64_t block;
    uint64_t blocks;
  };
  /// The content's blocks of files that have lost their last name.
  const std::vector<Extent>& dropped() const { return dropped_; }

 private:
  void Drop(Inode* inode);

  TreeLimits limits_;
  std::deque<Inode> inodes_;
  Inode* root_;
  uint64_t memory_bytes_ = 0;
  std::vector<Extent> dropped_;
};

/// Permissions and type of a folder nobody described.
constexpr uint16_t kDefaultFolderMode = S_IFDIR | 0755;

}  // namespace container::erofs
