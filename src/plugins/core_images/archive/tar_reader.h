// A pull parser of tar streams: V7, ustar, GNU (long names, base-256 numbers, sparse files), PAX
// (local and global headers, SCHILY.xattr.*, nanoseconds, GNU sparse 0.0, 0.1 and 1.0).
//
// Source: POSIX.1-2017 pax(1), tar(5) of libarchive, "Basic Tar Format" and "Storing Sparse Files"
// of the GNU tar manual. As container engines do, data after links, folders and devices doesn't
// exist whatever their size field says.
//
// Errors: DATA_LOSS for streams that are damaged or end early, INVALID_ARGUMENT for values that
// make no sense, RESOURCE_EXHAUSTED past a limit; each names the entry where its name is known.
// Threads: one at a time. Names are bytes in no known encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/core_images/archive/source.h"

namespace container::archive {

enum class EntryType {
  kFile,
  kHardLink,
  kSymlink,
  kCharDevice,
  kBlockDevice,
  kDirectory,
  kFifo,
};

struct TarEntry {
  EntryType type = EntryType::kFile;
  std::string name;         // as it stands in the archive
  std::string link_target;  // of hard and symbolic links
  uint32_t mode = 0;        // the lower 12 bits
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t mtime_seconds = 0;
  uint32_t mtime_nanoseconds = 0;
  uint64_t size_bytes = 0;  // of the file's content, holes included; 0 unless a file
  uint32_t device_major = 0;
  uint32_t device_minor = 0;
  std::map<std::string, std::string, std::less<>> xattrs;
};

/// A part of a file's content. What lies between parts, before the first and after the last is
/// zeros.
struct TarData {
  uint64_t offset = 0;
  std::span<const char> bytes;  // valid until the next call of the reader
};

struct TarLimits {
  size_t name_bytes = 4096;
  size_t extended_header_bytes = 1 << 20;
  size_t sparse_regions = 1 << 20;
};

class TarReader {
 public:
  /// `source` must outlive the reader.
  explicit TarReader(Source& source, TarLimits limits = {});

  /// The next entry, valid until the next call, or nullptr at the end of the archive. What is left
  /// of the former entry's data is skipped.
  absl::StatusOr<const TarEntry*> Next();

  /// The next part of the entry's content, in ascending order; `bytes` is empty at the end.
  absl::StatusOr<TarData> ReadData();

  /// Reads the source to its end, past the archive's end marker: for its digest and its errors.
  absl::Status Drain();

  /// Bytes pulled from the source and consumed so far.
  uint64_t position() const { return position_; }

 private:
  struct Region {
    uint64_t offset;
    uint64_t size;
  };
  using Records = std::map<std::string, std::string, std::less<>>;
  // What an extended header says; records of GNU sparse 0.0 repeat and so have a list.
  struct Extended {
    Records records;
    std::vector<uint64_t> sparse_numbers;
  };

  absl::StatusOr<bool> Fill(size_t size);
  absl::StatusOr<const char*> NextBlock();
  absl::Status Skip(uint64_t size);
  absl::StatusOr<std::string> ReadText(uint64_t size, size_t limit, std::string_view what);
  absl::StatusOr<bool> ReadHeader();
  absl::Status ParseExtended(std::string_view text, Extended& extended) const;
  absl::Status ParseHeader(const char* block);
  absl::Status ApplyExtended(const Extended& local);
  absl::Status ApplyRecord(std::string_view key, const std::string& value);
  absl::Status ReadOldSparse(const std::string& header);
  absl::Status ReadPaxSparse(const Extended& local);
  absl::Status CheckSparse(uint64_t real_size);
  absl::StatusOr<uint64_t> ReadSparseNumber(std::string& line_buffer);
  absl::Status EntryError(absl::StatusCode code, std::string_view why) const;

  Source& source_;
  TarLimits limits_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  bool source_done_ = false;
  bool finished_ = false;
  uint64_t position_ = 0;
  absl::Status error_;

  TarEntry entry_;
  Records global_;
  uint64_t stored_size_ = 0;     // bytes of data that the archive holds for the entry
  uint64_t data_left_ = 0;       // of these, not yet consumed
  uint64_t padding_left_ = 0;    // up to the next header
  std::vector<Region> regions_;  // where the stored bytes go
  size_t region_ = 0;
  uint64_t region_done_ = 0;
};

}  // namespace container::archive
