// The parts of EROFS's on-disk format that the writer uses: uncompressed, 4096-byte blocks,
// extended inodes.
//
// Source: Documentation/filesystems/erofs.rst and fs/erofs/erofs_fs.h of Linux. All numbers are
// little endian; an inode's number (nid) is its byte offset in the image divided by 32, since the
// metadata area is declared to start at block 0.
#pragma once

#include <sys/stat.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace container::erofs {

static_assert(std::endian::native == std::endian::little, "structures are written as they are");

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kBlockBits = 12;
constexpr uint64_t kSuperOffset = 1024;
constexpr uint32_t kSuperMagic = 0xe0f5e1e2;
constexpr uint64_t kNidBytes = 32;
constexpr uint64_t kInodeBytes = 64;
constexpr size_t kNameBytes = 255;

constexpr uint32_t kCompatSuperChecksum = 1;
constexpr uint32_t kCompatMtime = 2;  // the inodes' time is that of modification

// Inode formats: bit 0 says extended, the bits above it how the data lies.
constexpr uint16_t kFormatFlatPlain = 1 | 0 << 1;
constexpr uint16_t kFormatFlatInline = 1 | 2 << 1;  // the last part-block follows the inode

struct SuperBlock {
  uint32_t magic = kSuperMagic;
  uint32_t checksum = 0;
  uint32_t feature_compat = kCompatSuperChecksum | kCompatMtime;
  uint8_t block_bits = kBlockBits;
  uint8_t extension_slots = 0;
  uint16_t root_nid = 0;
  uint64_t inodes = 0;
  uint64_t build_time = 0;
  uint32_t build_time_nsec = 0;
  uint32_t blocks = 0;
  uint32_t meta_block = 0;
  uint32_t xattr_block = 0;
  uint8_t uuid[16] = {};
  uint8_t volume_name[16] = {};
  uint32_t feature_incompat = 0;
  uint8_t unused[44] = {};
};
static_assert(sizeof(SuperBlock) == 128);

struct DiskInode {
  uint16_t format = kFormatFlatPlain;
  uint16_t xattr_count = 0;
  uint16_t mode = 0;
  uint16_t reserved = 0;
  uint64_t size = 0;
  uint32_t block_or_device = 0;
  uint32_t number = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime = 0;
  uint32_t mtime_nsec = 0;
  uint32_t nlink = 0;
  uint8_t reserved2[16] = {};
};
static_assert(sizeof(DiskInode) == kInodeBytes);
static_assert(offsetof(DiskInode, nlink) == 44);

constexpr size_t kDirentBytes = 12;  // u64 nid, u16 offset of the name, u8 type, u8 reserved

constexpr size_t kXattrHeaderBytes = 12;
constexpr size_t kXattrEntryBytes = 4;  // u8 name length, u8 name space, u16 value length
constexpr size_t kXattrCountMax = 0xffff;

// Types of directory entries are those of the kernel's fs_types.h.
constexpr uint8_t DirentType(uint16_t mode) {
  switch (mode & S_IFMT) {
    case S_IFREG:
      return 1;
    case S_IFDIR:
      return 2;
    case S_IFCHR:
      return 3;
    case S_IFBLK:
      return 4;
    case S_IFIFO:
      return 5;
    case S_IFSOCK:
      return 6;
    case S_IFLNK:
      return 7;
    default:
      return 0;
  }
}

// The kernel's "new" encoding of device numbers: 12 bits of major, 20 of minor.
constexpr uint32_t kDeviceMajorMax = 0xfff;
constexpr uint32_t kDeviceMinorMax = 0xfffff;
constexpr uint32_t EncodeDevice(uint32_t major, uint32_t minor) {
  return (minor & 0xff) | major << 8 | (minor & ~uint32_t{0xff}) << 12;
}

/// CRC32C as the superblock has it: seed of ones, not inverted at the end.
uint32_t Crc32c(std::string_view data);

constexpr uint64_t RoundUp(uint64_t value, uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

}  // namespace container::erofs
