#include "plugins/core_images/erofs/tree.h"

#include <utility>

#include "base/status.h"
#include "fmt/format.h"

namespace container::erofs {

namespace {

// What is left of a folder that is only there because of what a higher layer put into it.
void MakePlain(Inode* folder) {
  folder->mode = kDefaultFolderMode;
  folder->uid = folder->gid = 0;
  folder->mtime_seconds = 0;
  folder->mtime_nanoseconds = 0;
  folder->xattrs.clear();
}

}  // namespace

Tree::Tree(TreeLimits limits) : limits_(limits) {
  root_ = &inodes_.emplace_back();
  root_->mode = kDefaultFolderMode;
  root_->links = 1;
  root_->folder = std::make_unique<Folder>();
  root_->folder->parent = root_;
}

absl::Status Tree::Charge(uint64_t bytes) {
  memory_bytes_ += bytes;
  if (memory_bytes_ > limits_.memory_bytes) {
    return absl::ResourceExhaustedError(
        fmt::format("the image's names and attributes take more than {} bytes of memory",
                    limits_.memory_bytes));
  }
  return absl::OkStatus();
}

absl::StatusOr<Inode*> Tree::NewInode(uint16_t mode) {
  if (inodes_.size() >= limits_.inodes) {
    return absl::ResourceExhaustedError(
        fmt::format("the image has more than {} files", limits_.inodes));
  }
  RETURN_IF_ERROR(Charge(sizeof(Inode)));
  Inode* inode = &inodes_.emplace_back();
  inode->mode = mode;
  if (inode->is_folder()) {
    inode->folder = std::make_unique<Folder>();
    RETURN_IF_ERROR(Charge(sizeof(Folder)));
  }
  return inode;
}

Link* Tree::Find(Inode* folder, std::string_view name) {
  const auto found = folder->folder->links.find(name);
  return found == folder->folder->links.end() ? nullptr : &found->second;
}

absl::Status Tree::Set(Inode* folder, std::string_view name, Inode* inode, uint32_t layer) {
  if (inode->is_folder()) inode->folder->parent = folder;
  ++inode->links;
  if (Link* link = Find(folder, name)) {
    Inode* old = std::exchange(link->inode, inode);
    link->layer = layer;
    Drop(old);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Charge(sizeof(std::string) + sizeof(Link) + name.size()));
  folder->folder->links.emplace(std::string(name), Link{inode, layer});
  return absl::OkStatus();
}

void Tree::Remove(Inode* folder, std::string_view name) {
  const auto found = folder->folder->links.find(name);
  if (found == folder->folder->links.end()) return;
  Inode* old = found->second.inode;
  folder->folder->links.erase(found);
  Drop(old);
}

// Takes one name from the inode; without a name it and what is below it go. A list instead of
// recursion: an archive chooses the depth.
void Tree::Drop(Inode* inode) {
  std::vector<Inode*> pending = {inode};
  while (!pending.empty()) {
    Inode* next = pending.back();
    pending.pop_back();
    if (--next->links > 0) continue;
    if (next->data_blocks > 0) dropped_.push_back({next->data_block, next->data_blocks});
    if (next->folder) {
      for (const auto& [name, link] : next->folder->links) pending.push_back(link.inode);
      next->folder.reset();
    }
    next->xattrs = std::string();
    next->target = std::string();
  }
}

void Tree::RemoveLower(Inode* folder, uint32_t layer) {
  // Folders in the order of a walk from the top, so that backwards each comes after those in it.
  struct Visit {
    Inode* inode;
    std::string name;
    Link link;
    Inode* parent;
  };
  std::vector<Visit> visits;
  visits.push_back({folder, "", {folder, layer}, nullptr});
  for (size_t i = 0; i < visits.size(); ++i) {
    Inode* current = visits[i].inode;
    for (const auto& [name, link] : current->folder->links) {
      if (link.inode->is_folder()) visits.push_back({link.inode, name, link, current});
    }
  }
  for (size_t i = visits.size(); i-- > 0;) {
    const Visit& visit = visits[i];
    auto& links = visit.inode->folder->links;
    for (auto it = links.begin(); it != links.end();) {
      if (it->second.layer == layer || it->second.inode->is_folder()) {
        ++it;
      } else {
        Inode* old = it->second.inode;
        it = links.erase(it);
        Drop(old);
      }
    }
    if (visit.parent == nullptr || visit.link.layer == layer) continue;
    if (links.empty()) {
      Remove(visit.parent, visit.name);
    } else {
      MakePlain(visit.inode);
    }
  }
}

void Tree::RemoveLowerName(Inode* folder, std::string_view name, uint32_t layer) {
  const Link* link = Find(folder, name);
  if (link == nullptr) return;
  if (link->inode->is_folder()) {
    RemoveLower(link->inode, layer);
    if (link->layer == layer) return;
    if (!link->inode->folder->links.empty()) {
      MakePlain(link->inode);
      return;
    }
  } else if (link->layer == layer) {
    return;
  }
  Remove(folder, name);
}

}  // namespace container::erofs
