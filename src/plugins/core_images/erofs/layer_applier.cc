#include "plugins/core_images/erofs/layer_applier.h"

#include <algorithm>
#include <optional>

#include "base/status.h"
#include "fmt/format.h"
#include "plugins/core_images/archive/quote.h"
#include "plugins/core_images/erofs/format.h"

namespace container::erofs {
namespace {

using archive::EntryType;
using archive::Quote;
using archive::TarEntry;

constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kWhiteoutMeta = ".wh..wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr int kMaxLinksFollowed = 40;  // as the kernel
constexpr size_t kMaxLinkTarget = 4095;
constexpr uint64_t kProgressBytes = 1 << 20;

// Takes the next component off a path; empty at its end. "." and doubled slashes are passed over.
std::string_view NextComponent(std::string_view& rest) {
  for (;;) {
    const size_t begin = rest.find_first_not_of('/');
    if (begin == std::string_view::npos) {
      rest = {};
      return {};
    }
    rest.remove_prefix(begin);
    const std::string_view component = rest.substr(0, rest.find('/'));
    rest.remove_prefix(component.size());
    if (component != ".") return component;
  }
}

struct SplitName {
  std::string_view parent;
  std::string_view base;  // empty: the root itself
};

absl::StatusOr<SplitName> Split(std::string_view name) {
  SplitName split;
  std::string_view rest = name;
  for (;;) {
    const std::string_view component = NextComponent(rest);
    if (component.empty()) return split;
    if (component == "..") {
      return absl::InvalidArgumentError(fmt::format("\"..\" in the name {}", Quote(name)));
    }
    if (component.size() > kNameBytes) {
      return absl::InvalidArgumentError("a part of its name is longer than 255 bytes");
    }
    split.base = component;
    split.parent = name.substr(0, static_cast<size_t>(component.data() - name.data()));
  }
}

struct NameSpace {
  std::string_view prefix;
  uint8_t index;
  bool whole;  // the prefix is the entire name
};
constexpr NameSpace kNameSpaces[] = {
    {"user.", 1, false},
    {"system.posix_acl_access", 2, true},
    {"system.posix_acl_default", 3, true},
    {"trusted.", 4, false},
    {"security.", 6, false},
};

}  // namespace

absl::StatusOr<std::string> EncodeXattrs(
    const std::map<std::string, std::string, std::less<>>& xattrs) {
  std::string encoded;
  for (const auto& [name, value] : xattrs) {
    if (name.starts_with("trusted.overlay.")) continue;
    for (const NameSpace& space : kNameSpaces) {
      if (space.whole ? name != space.prefix : !name.starts_with(space.prefix)) continue;
      const std::string_view suffix = std::string_view(name).substr(space.prefix.size());
      if (suffix.empty() != space.whole) break;
      if (name.size() > 255 || suffix.find('\0') != std::string_view::npos ||
          value.size() > 0xffff) {
        return absl::InvalidArgumentError(fmt::format("bad extended attribute {}", Quote(name)));
      }
      if (encoded.empty()) encoded.resize(kXattrHeaderBytes);
      encoded += static_cast<char>(suffix.size());
      encoded += static_cast<char>(space.index);
      encoded += static_cast<char>(value.size() & 0xff);
      encoded += static_cast<char>(value.size() >> 8);
      encoded += suffix;
      encoded += value;
      encoded.resize(RoundUp(encoded.size(), kXattrEntryBytes));
      break;
    }
  }
  if (encoded.size() > kXattrHeaderBytes + (kXattrCountMax - 1) * 4) {
    return absl::ResourceExhaustedError("too many extended attributes");
  }
  return encoded;
}

// The folder a path names. Without `create`, NOT_FOUND if it isn't there.
absl::StatusOr<Inode*> LayerApplier::Walk(std::string_view path, bool create) {
  Inode* current = tree_.root();
  std::string expanded;
  std::string_view rest = path;
  int followed = 0;
  for (;;) {
    const std::string_view name = NextComponent(rest);
    if (name.empty()) return current;
    if (name == "..") {  // of a link's target: Split has refused others
      current = current->folder->parent;
      continue;
    }
    if (name.size() > kNameBytes) {
      return absl::InvalidArgumentError("a part of its name is longer than 255 bytes");
    }
    Link* link = Tree::Find(current, name);
    if (link == nullptr) {
      if (!create) return absl::NotFoundError("its folder isn't there");
      ASSIGN_OR_RETURN(Inode* const folder, tree_.NewInode(kDefaultFolderMode));
      RETURN_IF_ERROR(tree_.Set(current, name, folder, 0));
      current = folder;
    } else if (link->inode->is_folder()) {
      current = link->inode;
    } else if (link->inode->is_link()) {
      if (++followed > kMaxLinksFollowed) {
        return absl::InvalidArgumentError("too many links on the way to it");
      }
      std::string next = fmt::format("{}/{}", link->inode->target, rest);
      if (next.size() > 2 * kMaxLinkTarget + 2) {
        return absl::InvalidArgumentError("the links on the way to it are too long");
      }
      expanded = std::move(next);
      rest = expanded;
      if (rest.starts_with('/')) current = tree_.root();
    } else {
      return absl::InvalidArgumentError(
          fmt::format("{} on the way to it is not a folder", Quote(name)));
    }
  }
}

absl::StatusOr<Inode*> LayerApplier::WalkCached(std::string_view path) {
  if (cached_folder_ != nullptr && path == cached_path_) return cached_folder_;
  ASSIGN_OR_RETURN(Inode* const folder, Walk(path, true));
  cached_path_ = path;
  cached_folder_ = folder;
  return folder;
}

absl::StatusOr<Inode*> LayerApplier::FindLinkTarget(std::string_view path) {
  ASSIGN_OR_RETURN(const SplitName split, Split(path), "its link target");
  const absl::StatusOr<Inode*> parent = Walk(split.parent, false);
  const Link* link = parent.ok() && !split.base.empty() ? Tree::Find(*parent, split.base) : nullptr;
  if (link == nullptr) {
    return absl::InvalidArgumentError(
        fmt::format("a hard link to {}, which isn't there", Quote(path)));
  }
  if (link->inode->is_folder()) {
    return absl::InvalidArgumentError(
        fmt::format("a hard link to {}, which is a folder", Quote(path)));
  }
  return link->inode;
}

absl::Status LayerApplier::SetAttributes(const TarEntry& entry, Inode& inode) {
  inode.mode = static_cast<uint16_t>((inode.mode & S_IFMT) | entry.mode);
  inode.uid = entry.uid;
  inode.gid = entry.gid;
  inode.mtime_seconds = entry.mtime_seconds;
  inode.mtime_nanoseconds = entry.mtime_nanoseconds;
  ASSIGN_OR_RETURN(inode.xattrs, EncodeXattrs(entry.xattrs));
  return inode.xattrs.empty() ? absl::OkStatus() : tree_.Charge(inode.xattrs.size());
}

absl::Status LayerApplier::ApplyFolder(const TarEntry& entry, Inode* parent,
                                       std::string_view name) {
  Link* link = Tree::Find(parent, name);
  if (link != nullptr && link->inode->is_folder()) {
    link->layer = layer_;
    return SetAttributes(entry, *link->inode);
  }
  if (link != nullptr) cached_folder_ = nullptr;
  ASSIGN_OR_RETURN(Inode* const inode, tree_.NewInode(S_IFDIR));
  RETURN_IF_ERROR(SetAttributes(entry, *inode));
  return tree_.Set(parent, name, inode, layer_);
}

absl::Status LayerApplier::WriteContent(archive::TarReader& reader, Inode& inode) {
  if (inode.size == 0) return absl::OkStatus();
  RETURN_IF_ERROR(writer_.BeginFile(inode));
  for (;;) {
    ASSIGN_OR_RETURN(const archive::TarData data, reader.ReadData());
    if (data.bytes.empty()) return absl::OkStatus();
    RETURN_IF_ERROR(writer_.WriteContent(data.offset, data.bytes));
    if (progress_ && reader.position() >= reported_ + kProgressBytes) {
      reported_ = reader.position();
      progress_(reported_);
    }
  }
}

absl::Status LayerApplier::ApplyEntry(archive::TarReader& reader, const TarEntry& entry) {
  ASSIGN_OR_RETURN(const SplitName name, Split(entry.name));
  if (name.base.empty()) {
    if (entry.type != EntryType::kDirectory) {
      return absl::InvalidArgumentError("the root is not a folder");
    }
    return SetAttributes(entry, *tree_.root());
  }
  if (name.base.starts_with(kWhiteout)) {
    if (name.base == kOpaque) {
      ASSIGN_OR_RETURN(Inode* const folder, Walk(name.parent, true));
      cached_folder_ = nullptr;
      tree_.RemoveLower(folder, layer_);
      return absl::OkStatus();
    }
    if (name.base.starts_with(kWhiteoutMeta)) return absl::OkStatus();
    const std::string_view hidden = name.base.substr(kWhiteout.size());
    if (hidden.empty() || hidden == "." || hidden == "..") {
      return absl::InvalidArgumentError("a whiteout of nothing");
    }
    const absl::StatusOr<Inode*> folder = Walk(name.parent, false);
    if (absl::IsNotFound(folder.status())) return absl::OkStatus();
    if (!folder.ok()) return folder.status();
    cached_folder_ = nullptr;
    tree_.RemoveLowerName(*folder, hidden, layer_);
    return absl::OkStatus();
  }
  std::string_view all = name.parent;
  if (NextComponent(all).starts_with(kWhiteoutMeta)) return absl::OkStatus();

  ASSIGN_OR_RETURN(Inode* const parent, WalkCached(name.parent));
  if (entry.type == EntryType::kDirectory) return ApplyFolder(entry, parent, name.base);

  Inode* inode = nullptr;
  switch (entry.type) {
    case EntryType::kHardLink: {
      ASSIGN_OR_RETURN(inode, FindLinkTarget(entry.link_target));
      break;
    }
    case EntryType::kFile: {
      ASSIGN_OR_RETURN(inode, tree_.NewInode(S_IFREG));
      RETURN_IF_ERROR(SetAttributes(entry, *inode));
      inode->size = entry.size_bytes;
      RETURN_IF_ERROR(WriteContent(reader, *inode));
      break;
    }
    case EntryType::kSymlink: {
      if (entry.link_target.empty() || entry.link_target.size() > kMaxLinkTarget) {
        return absl::InvalidArgumentError("a link whose target is empty or too long");
      }
      ASSIGN_OR_RETURN(inode, tree_.NewInode(S_IFLNK));
      RETURN_IF_ERROR(SetAttributes(entry, *inode));
      inode->mode = S_IFLNK | 0777;  // links have no permissions of their own
      inode->target = entry.link_target;
      RETURN_IF_ERROR(tree_.Charge(inode->target.size()));
      break;
    }
    case EntryType::kCharDevice:
    case EntryType::kBlockDevice: {
      if (entry.device_major > kDeviceMajorMax || entry.device_minor > kDeviceMinorMax) {
        return absl::InvalidArgumentError("a device number that Linux doesn't have");
      }
      ASSIGN_OR_RETURN(inode,
                       tree_.NewInode(entry.type == EntryType::kCharDevice ? S_IFCHR : S_IFBLK));
      RETURN_IF_ERROR(SetAttributes(entry, *inode));
      inode->device = EncodeDevice(entry.device_major, entry.device_minor);
      break;
    }
    case EntryType::kFifo: {
      ASSIGN_OR_RETURN(inode, tree_.NewInode(S_IFIFO));
      RETURN_IF_ERROR(SetAttributes(entry, *inode));
      break;
    }
    case EntryType::kDirectory:
      break;
  }
  // Only a folder's or a link's going can change where a path leads.
  const Link* old = Tree::Find(parent, name.base);
  if (old != nullptr && (old->inode->is_folder() || old->inode->is_link())) {
    cached_folder_ = nullptr;
  }
  return tree_.Set(parent, name.base, inode, layer_);
}

absl::Status LayerApplier::Apply(archive::TarReader& reader, const Progress& progress) {
  progress_ = progress;
  for (;;) {
    ASSIGN_OR_RETURN(const TarEntry* entry, reader.Next());
    if (entry == nullptr) break;
    const absl::Status status = ApplyEntry(reader, *entry);
    if (!status.ok()) {
      // The reader's own errors name the entry already.
      if (status.message().substr(0, 5) == "tar: ") return status;
      return base::Annotate(status, fmt::format("entry {}", Quote(entry->name)));
    }
    if (progress_ && reader.position() >= reported_ + kProgressBytes) {
      reported_ = reader.position();
      progress_(reported_);
    }
  }
  RETURN_IF_ERROR(reader.Drain());
  if (progress_) progress_(reader.position());
  return absl::OkStatus();
}

}  // namespace container::erofs
