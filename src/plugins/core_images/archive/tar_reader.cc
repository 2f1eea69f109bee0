#include "plugins/core_images/archive/tar_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <optional>

#include "base/status.h"
#include "fmt/format.h"
#include "plugins/core_images/archive/quote.h"

namespace container::archive {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kBufferBytes = 256 << 10;
constexpr std::string_view kXattrPrefix = "SCHILY.xattr.";

struct Field {
  size_t offset;
  size_t size;
};
constexpr Field kName = {0, 100};
constexpr Field kMode = {100, 8};
constexpr Field kUid = {108, 8};
constexpr Field kGid = {116, 8};
constexpr Field kSize = {124, 12};
constexpr Field kMtime = {136, 12};
constexpr Field kChecksum = {148, 8};
constexpr size_t kTypeOffset = 156;
constexpr Field kLinkName = {157, 100};
constexpr Field kMagic = {257, 8};
constexpr Field kDeviceMajor = {329, 8};
constexpr Field kDeviceMinor = {337, 8};
constexpr Field kPrefix = {345, 155};
constexpr Field kStarPrefix = {345, 131};  // Star keeps access and change times behind it
constexpr Field kStarTrailer = {508, 4};
constexpr size_t kOldSparseOffset = 386;  // four pairs of 12-byte numbers, then a flag
constexpr size_t kOldSparseMoreOffset = 482;
constexpr Field kOldSparseRealSize = {483, 12};
constexpr size_t kOldSparseExtensionEntries = 21;
constexpr size_t kOldSparseExtensionMoreOffset = 504;

std::string_view Raw(const char* block, Field field) { return {block + field.offset, field.size}; }

std::string_view UntilNul(std::string_view text) { return text.substr(0, text.find('\0')); }

// Octal digits between spaces and NULs, or GNU's base-256 two's complement.
std::optional<int64_t> ParseNumber(std::string_view field) {
  const auto first = static_cast<uint8_t>(field[0]);
  if ((first & 0x80) != 0) {
    const bool negative = (first & 0x40) != 0;
    uint64_t value = negative ? ~uint64_t{0} : 0;
    for (size_t i = 0; i < field.size(); ++i) {
      auto byte = static_cast<uint8_t>(field[i]);
      if (i == 0) byte = negative ? byte : byte & 0x7f;
      const auto top = static_cast<uint8_t>(value >> 56);
      if (top != (negative ? 0xff : 0)) return std::nullopt;
      value = value << 8 | byte;
    }
    const auto result = static_cast<int64_t>(value);
    if ((result < 0) != negative) return std::nullopt;
    return result;
  }
  size_t i = 0;
  while (i < field.size() && (field[i] == ' ' || field[i] == '\0')) ++i;
  int64_t value = 0;
  for (; i < field.size() && field[i] >= '0' && field[i] <= '7'; ++i) {
    if (value > std::numeric_limits<int64_t>::max() >> 3) return std::nullopt;
    value = value << 3 | (field[i] - '0');
  }
  if (i < field.size() && field[i] != ' ' && field[i] != '\0') return std::nullopt;
  return value;
}

bool ChecksumMatches(const char* block) {
  const std::optional<int64_t> wanted = ParseNumber(Raw(block, kChecksum));
  if (!wanted) return false;
  // Some old programs summed signed characters.
  int64_t unsigned_sum = 0;
  int64_t signed_sum = 0;
  for (size_t i = 0; i < kBlock; ++i) {
    const bool inside = i >= kChecksum.offset && i < kChecksum.offset + kChecksum.size;
    const char c = inside ? ' ' : block[i];
    unsigned_sum += static_cast<uint8_t>(c);
    signed_sum += static_cast<int8_t>(c);
  }
  return *wanted == unsigned_sum || *wanted == signed_sum;
}

bool IsZeroBlock(const char* block) {
  return block[0] == 0 && std::memcmp(block, block + 1, kBlock - 1) == 0;
}

// Digits and nothing else.
std::optional<uint64_t> ParseDecimal(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "[-]seconds[.fraction]" as seconds rounded down and the nanoseconds that follow.
bool ParseTime(std::string_view text, int64_t& seconds, uint32_t& nanoseconds) {
  const bool negative = text.starts_with('-');
  if (negative) text.remove_prefix(1);
  const size_t dot = text.find('.');
  const std::optional<uint64_t> whole = ParseDecimal(text.substr(0, dot));
  if (!whole || *whole > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - 1) {
    return false;
  }
  uint32_t fraction = 0;
  if (dot != std::string_view::npos) {
    std::string digits(text.substr(dot + 1));
    if (digits.find_first_not_of("0123456789") != std::string::npos) return false;
    digits.resize(9, '0');
    fraction = static_cast<uint32_t>(*ParseDecimal(digits));
  }
  seconds = static_cast<int64_t>(*whole);
  nanoseconds = fraction;
  if (negative) {
    seconds = -seconds;
    if (fraction > 0) {
      --seconds;
      nanoseconds = 1'000'000'000 - fraction;
    }
  }
  return true;
}

}  // namespace

TarReader::TarReader(Source& source, TarLimits limits)
    : source_(source), limits_(limits), buffer_(new char[kBufferBytes]) {}

absl::Status TarReader::EntryError(absl::StatusCode code, std::string_view why) const {
  return absl::Status(code, fmt::format("tar: entry {}: {}", Quote(entry_.name), why));
}

// Makes `size` bytes available in one piece; false if the source ends before them.
absl::StatusOr<bool> TarReader::Fill(size_t size) {
  while (end_ - begin_ < size) {
    if (source_done_) return false;
    if (begin_ == end_) {
      begin_ = end_ = 0;
    } else if (begin_ + size > kBufferBytes) {
      std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    ASSIGN_OR_RETURN(const size_t got,
                     source_.Read(std::span(buffer_.get() + end_, kBufferBytes - end_)));
    source_done_ = got == 0;
    end_ += got;
  }
  return true;
}

// nullptr at a clean end.
absl::StatusOr<const char*> TarReader::NextBlock() {
  ASSIGN_OR_RETURN(const bool whole, Fill(kBlock));
  if (!whole) {
    if (begin_ == end_) return nullptr;
    return absl::DataLossError("tar: the archive ends inside a header");
  }
  const char* block = buffer_.get() + begin_;
  begin_ += kBlock;
  position_ += kBlock;
  return block;
}

absl::Status TarReader::Skip(uint64_t size) {
  while (size > 0) {
    ASSIGN_OR_RETURN(const bool some, Fill(1));
    if (!some) return EntryError(absl::StatusCode::kDataLoss, "the archive ends inside its data");
    const size_t count = std::min<uint64_t>(size, end_ - begin_);
    begin_ += count;
    position_ += count;
    size -= count;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> TarReader::ReadText(uint64_t size, size_t limit,
                                                std::string_view what) {
  if (size > limit) {
    return absl::ResourceExhaustedError(
        fmt::format("tar: {} of {} bytes, {} are the limit", what, size, limit));
  }
  std::string text;
  text.reserve(size);
  while (text.size() < size) {
    ASSIGN_OR_RETURN(const bool some, Fill(1));
    if (!some) return absl::DataLossError(fmt::format("tar: the archive ends inside {}", what));
    const size_t count = std::min<size_t>(size - text.size(), end_ - begin_);
    text.append(buffer_.get() + begin_, count);
    begin_ += count;
    position_ += count;
  }
  RETURN_IF_ERROR(Skip((kBlock - size % kBlock) % kBlock));
  return text;
}

// Records read "LENGTH KEY=VALUE\n", LENGTH being that of the whole record.
absl::Status TarReader::ParseExtended(std::string_view text, Extended& extended) const {
  while (!text.empty()) {
    const size_t space = text.find(' ');
    const std::optional<uint64_t> length =
        space == std::string_view::npos ? std::nullopt : ParseDecimal(text.substr(0, space));
    if (!length || *length > text.size() || *length < space + 3 || text[*length - 1] != '\n') {
      return absl::DataLossError("tar: damaged extended header");
    }
    const std::string_view record = text.substr(space + 1, *length - space - 2);
    const size_t equals = record.find('=');
    if (equals == std::string_view::npos || equals == 0) {
      return absl::DataLossError("tar: damaged extended header");
    }
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "GNU.sparse.offset" || key == "GNU.sparse.numbytes") {
      const std::optional<uint64_t> number = ParseDecimal(value);
      const bool is_offset = key == "GNU.sparse.offset";
      if (!number || (extended.sparse_numbers.size() % 2 == 0) != is_offset) {
        return absl::DataLossError("tar: damaged map of a sparse file");
      }
      extended.sparse_numbers.push_back(*number);
    } else {
      extended.records.insert_or_assign(std::string(key), std::string(value));
    }
    text.remove_prefix(*length);
  }
  return absl::OkStatus();
}

absl::Status TarReader::ParseHeader(const char* block) {
  entry_ = TarEntry();
  const std::string_view magic = Raw(block, kMagic);
  const bool posix = magic.starts_with(std::string_view("ustar\0", 6));
  entry_.name = UntilNul(Raw(block, kName));
  if (posix) {
    const bool star = Raw(block, kStarTrailer) == std::string_view("tar\0", 4);
    const std::string_view prefix = UntilNul(Raw(block, star ? kStarPrefix : kPrefix));
    if (!prefix.empty()) entry_.name = fmt::format("{}/{}", prefix, entry_.name);
  }
  entry_.link_target = UntilNul(Raw(block, kLinkName));

  const auto number = [&](Field field, std::string_view what, int64_t least,
                          int64_t most) -> absl::StatusOr<int64_t> {
    const std::optional<int64_t> value = ParseNumber(Raw(block, field));
    if (!value || *value < least || *value > most) {
      return EntryError(absl::StatusCode::kInvalidArgument, fmt::format("bad {}", what));
    }
    return *value;
  };
  constexpr int64_t kMaxInt64 = std::numeric_limits<int64_t>::max();
  constexpr int64_t kMaxId = 0xfffffffe;
  ASSIGN_OR_RETURN(const int64_t mode, number(kMode, "mode", 0, kMaxInt64));
  entry_.mode = static_cast<uint32_t>(mode & 07777);
  ASSIGN_OR_RETURN(const int64_t uid, number(kUid, "user", 0, kMaxId));
  entry_.uid = static_cast<uint32_t>(uid);
  ASSIGN_OR_RETURN(const int64_t gid, number(kGid, "group", 0, kMaxId));
  entry_.gid = static_cast<uint32_t>(gid);
  ASSIGN_OR_RETURN(const int64_t size, number(kSize, "size", 0, kMaxInt64));
  stored_size_ = static_cast<uint64_t>(size);
  ASSIGN_OR_RETURN(entry_.mtime_seconds, number(kMtime, "time", -kMaxInt64, kMaxInt64));

  const char type = block[kTypeOffset];
  switch (type) {
    case '\0':
    case '0':
    case '7':
    case 'S':
      entry_.type = EntryType::kFile;
      break;
    case '1':
      entry_.type = EntryType::kHardLink;
      break;
    case '2':
      entry_.type = EntryType::kSymlink;
      break;
    case '3':
      entry_.type = EntryType::kCharDevice;
      break;
    case '4':
      entry_.type = EntryType::kBlockDevice;
      break;
    case '5':
    case 'D':
      entry_.type = EntryType::kDirectory;
      break;
    case '6':
      entry_.type = EntryType::kFifo;
      break;
    default:
      return EntryError(absl::StatusCode::kInvalidArgument,
                        fmt::format("unknown type 0x{:02x}", static_cast<uint8_t>(type)));
  }
  if (type == '3' || type == '4') {
    constexpr int64_t kMaxDevice = std::numeric_limits<uint32_t>::max();
    ASSIGN_OR_RETURN(const int64_t major, number(kDeviceMajor, "device number", 0, kMaxDevice));
    ASSIGN_OR_RETURN(const int64_t minor, number(kDeviceMinor, "device number", 0, kMaxDevice));
    entry_.device_major = static_cast<uint32_t>(major);
    entry_.device_minor = static_cast<uint32_t>(minor);
  }
  return absl::OkStatus();
}

absl::Status TarReader::ApplyRecord(std::string_view key, const std::string& value) {
  const auto bad = [&] {
    return EntryError(
        absl::StatusCode::kInvalidArgument,
        fmt::format("bad extended header {}: {}", Quote(key), Quote(value.substr(0, 64))));
  };
  if (key.starts_with(kXattrPrefix)) {
    const std::string_view name = key.substr(kXattrPrefix.size());
    if (name.empty()) return bad();
    entry_.xattrs.insert_or_assign(std::string(name), value);
    return absl::OkStatus();
  }
  if (value.empty()) return absl::OkStatus();  // "as if there were none"
  if (key == "path" || key == "GNU.sparse.name") {
    entry_.name = value;
  } else if (key == "linkpath") {
    entry_.link_target = value;
  } else if (key == "mtime") {
    if (!ParseTime(value, entry_.mtime_seconds, entry_.mtime_nanoseconds)) return bad();
  } else if (key == "size") {
    const std::optional<uint64_t> number = ParseDecimal(value);
    if (!number || *number > std::numeric_limits<int64_t>::max()) return bad();
    stored_size_ = *number;
  } else if (key == "uid" || key == "gid" || key == "SCHILY.devmajor" || key == "SCHILY.devminor") {
    const std::optional<uint64_t> number = ParseDecimal(value);
    const bool is_id = key == "uid" || key == "gid";
    if (!number || *number > (is_id ? 0xfffffffe : 0xffffffff)) return bad();
    uint32_t& target = key == "uid"               ? entry_.uid
                       : key == "gid"             ? entry_.gid
                       : key == "SCHILY.devmajor" ? entry_.device_major
                                                  : entry_.device_minor;
    target = static_cast<uint32_t>(*number);
  }
  return absl::OkStatus();
}

absl::Status TarReader::ApplyExtended(const Extended& local) {
  for (const auto& [key, value] : global_) {
    // A name or a size shared by all entries can only be a mistake.
    if (key == "path" || key == "linkpath" || key == "size" || key.starts_with("GNU.")) continue;
    if (!local.records.contains(key)) RETURN_IF_ERROR(ApplyRecord(key, value));
  }
  // The name first: errors of the other records tell it. GNU's own name wins over the stand-in.
  for (const std::string_view key : {"path", "GNU.sparse.name"}) {
    const auto record = local.records.find(key);
    if (record != local.records.end()) RETURN_IF_ERROR(ApplyRecord(key, record->second));
  }
  for (const auto& [key, value] : local.records) {
    if (key != "path" && key != "GNU.sparse.name") RETURN_IF_ERROR(ApplyRecord(key, value));
  }
  return absl::OkStatus();
}

absl::Status TarReader::ReadOldSparse(const std::string& header) {
  const auto damaged = [&] {
    return EntryError(absl::StatusCode::kDataLoss, "damaged map of a sparse file");
  };
  const auto add = [&](const char* entries, size_t count) {
    for (size_t i = 0; i < count; ++i) {
      const char* pair = entries + i * 24;
      if (pair[0] == 0 || pair[12] == 0) break;
      const std::optional<int64_t> offset = ParseNumber({pair, 12});
      const std::optional<int64_t> size = ParseNumber({pair + 12, 12});
      if (!offset || !size || *offset < 0 || *size < 0) return false;
      regions_.push_back({static_cast<uint64_t>(*offset), static_cast<uint64_t>(*size)});
    }
    return true;
  };
  const std::optional<int64_t> real_size = ParseNumber(Raw(header.data(), kOldSparseRealSize));
  if (!real_size || *real_size < 0) return damaged();
  if (!add(header.data() + kOldSparseOffset, 4)) return damaged();
  bool more = header[kOldSparseMoreOffset] != 0;
  while (more) {
    if (regions_.size() > limits_.sparse_regions) {
      return EntryError(absl::StatusCode::kResourceExhausted, "too many parts of a sparse file");
    }
    ASSIGN_OR_RETURN(const char* block, NextBlock());
    if (block == nullptr || !add(block, kOldSparseExtensionEntries)) return damaged();
    more = block[kOldSparseExtensionMoreOffset] != 0;
  }
  return CheckSparse(static_cast<uint64_t>(*real_size));
}

// A line of the map at the head of a GNU sparse 1.0 file's data; blocks are consumed as needed.
absl::StatusOr<uint64_t> TarReader::ReadSparseNumber(std::string& lines) {
  for (;;) {
    const size_t end = lines.find('\n');
    if (end != std::string::npos) {
      const std::optional<uint64_t> number = ParseDecimal(std::string_view(lines).substr(0, end));
      if (!number) break;
      lines.erase(0, end + 1);
      return *number;
    }
    if (lines.size() > 24 || data_left_ < kBlock) break;
    ASSIGN_OR_RETURN(const char* block, NextBlock());
    if (block == nullptr) break;
    data_left_ -= kBlock;
    lines.append(block, kBlock);
  }
  return EntryError(absl::StatusCode::kDataLoss, "damaged map of a sparse file");
}

absl::Status TarReader::ReadPaxSparse(const Extended& local) {
  const auto record = [&](std::string_view key) -> std::string_view {
    const auto found = local.records.find(key);
    return found == local.records.end() ? std::string_view() : found->second;
  };
  const auto damaged = [&] {
    return EntryError(absl::StatusCode::kDataLoss, "damaged map of a sparse file");
  };
  std::vector<uint64_t> numbers;
  if (record("GNU.sparse.major") == "1" && record("GNU.sparse.minor") == "0") {
    std::string lines;
    ASSIGN_OR_RETURN(const uint64_t count, ReadSparseNumber(lines));
    if (count > limits_.sparse_regions) {
      return EntryError(absl::StatusCode::kResourceExhausted, "too many parts of a sparse file");
    }
    for (uint64_t i = 0; i < 2 * count; ++i) {
      ASSIGN_OR_RETURN(const uint64_t number, ReadSparseNumber(lines));
      numbers.push_back(number);
    }
  } else if (!record("GNU.sparse.map").empty()) {
    std::string_view map = record("GNU.sparse.map");
    for (size_t comma = 0; comma != std::string_view::npos;) {
      comma = map.find(',');
      const std::optional<uint64_t> number = ParseDecimal(map.substr(0, comma));
      if (!number) return damaged();
      numbers.push_back(*number);
      map.remove_prefix(std::min(comma, map.size() - 1) + 1);
    }
  } else if (!local.sparse_numbers.empty()) {
    numbers = local.sparse_numbers;
  } else if (!record("GNU.sparse.major").empty()) {
    return EntryError(absl::StatusCode::kInvalidArgument, "unknown format of a sparse file");
  } else if (record("GNU.sparse.size").empty()) {
    return absl::OkStatus();
  }
  const std::string_view real_size_text = record("GNU.sparse.realsize").empty()
                                              ? record("GNU.sparse.size")
                                              : record("GNU.sparse.realsize");
  const std::optional<uint64_t> real_size = ParseDecimal(real_size_text);
  if (!real_size || numbers.size() % 2 != 0) return damaged();
  regions_.clear();
  for (size_t i = 0; i < numbers.size(); i += 2) regions_.push_back({numbers[i], numbers[i + 1]});
  return CheckSparse(*real_size);
}

absl::Status TarReader::CheckSparse(uint64_t real_size) {
  uint64_t end = 0;
  uint64_t sum = 0;
  for (const Region& region : regions_) {
    if (region.offset < end || region.offset > real_size ||
        region.size > real_size - region.offset) {
      return EntryError(absl::StatusCode::kDataLoss, "damaged map of a sparse file");
    }
    end = region.offset + region.size;
    sum += region.size;
  }
  if (sum != data_left_ || real_size > std::numeric_limits<int64_t>::max()) {
    return EntryError(absl::StatusCode::kDataLoss, "damaged map of a sparse file");
  }
  entry_.size_bytes = real_size;
  return absl::OkStatus();
}

// False at the end of the archive.
absl::StatusOr<bool> TarReader::ReadHeader() {
  RETURN_IF_ERROR(Skip(data_left_ + padding_left_));
  data_left_ = padding_left_ = 0;
  Extended local;
  std::optional<std::string> long_name;
  std::optional<std::string> long_link;
  bool pending = false;
  for (;;) {
    ASSIGN_OR_RETURN(const char* block, NextBlock());
    if (block == nullptr || IsZeroBlock(block)) {
      if (pending) return absl::DataLossError("tar: the archive ends after an extended header");
      if (block == nullptr) return false;
      ASSIGN_OR_RETURN(block, NextBlock());
      if (block != nullptr && !IsZeroBlock(block)) {
        return absl::DataLossError("tar: a lone block of zeros inside the archive");
      }
      return false;
    }
    if (!ChecksumMatches(block)) {
      return absl::DataLossError(
          fmt::format("tar: bad checksum of the header at byte {}, after entry {}",
                      position_ - kBlock, Quote(entry_.name)));
    }
    const char type = block[kTypeOffset];
    if (type == 'x' || type == 'g' || type == 'L' || type == 'K' || type == 'V') {
      const std::optional<int64_t> size = ParseNumber(Raw(block, kSize));
      if (!size || *size < 0) {
        return absl::InvalidArgumentError("tar: bad size of an extended header");
      }
      const bool is_name = type == 'L' || type == 'K';
      ASSIGN_OR_RETURN(std::string text,
                       ReadText(static_cast<uint64_t>(*size),
                                is_name ? limits_.name_bytes + 1 : limits_.extended_header_bytes,
                                is_name ? "a long name" : "an extended header"));
      pending = pending || (type != 'g' && type != 'V');
      if (type == 'x') {
        local = Extended();
        RETURN_IF_ERROR(ParseExtended(text, local));
      } else if (type == 'g') {
        Extended global;
        RETURN_IF_ERROR(ParseExtended(text, global));
        size_t total = 0;
        for (auto& [key, value] : global.records) global_.insert_or_assign(key, std::move(value));
        for (const auto& [key, value] : global_) total += key.size() + value.size();
        if (total > limits_.extended_header_bytes) {
          return absl::ResourceExhaustedError("tar: too many global extended headers");
        }
      } else if (is_name) {
        (type == 'L' ? long_name : long_link) = std::string(UntilNul(text));
      }
      continue;
    }
    // The block lives in the buffer, which reading a sparse map moves.
    const std::string header = type == 'S' ? std::string(block, kBlock) : std::string();
    RETURN_IF_ERROR(ParseHeader(block));
    const bool old_style = type == '\0';
    if (long_name) entry_.name = *std::move(long_name);
    if (long_link) entry_.link_target = *std::move(long_link);
    RETURN_IF_ERROR(ApplyExtended(local));
    if (entry_.name.size() > limits_.name_bytes || entry_.link_target.size() > limits_.name_bytes) {
      entry_.name.resize(std::min<size_t>(entry_.name.size(), 64));
      return EntryError(absl::StatusCode::kResourceExhausted, "name too long");
    }
    if (entry_.name.find('\0') != std::string::npos ||
        entry_.link_target.find('\0') != std::string::npos) {
      return EntryError(absl::StatusCode::kInvalidArgument, "a NUL in its name");
    }
    if (entry_.type == EntryType::kFile && old_style && entry_.name.ends_with('/')) {
      entry_.type = EntryType::kDirectory;
    }
    regions_.clear();
    region_ = 0;
    region_done_ = 0;
    // GNU's folder listings ('D') do have data; of other kinds a size field says nothing.
    if (entry_.type != EntryType::kFile && type != 'D') stored_size_ = 0;
    data_left_ = stored_size_;
    padding_left_ = (kBlock - stored_size_ % kBlock) % kBlock;
    if (entry_.type != EntryType::kFile) return true;
    if (type == 'S') {
      RETURN_IF_ERROR(ReadOldSparse(header));
      return true;
    }
    entry_.size_bytes = stored_size_;
    regions_.push_back({0, stored_size_});
    RETURN_IF_ERROR(ReadPaxSparse(local));
    return true;
  }
}

absl::StatusOr<const TarEntry*> TarReader::Next() {
  if (!error_.ok()) return error_;
  if (finished_) return nullptr;
  const absl::StatusOr<bool> more = ReadHeader();
  if (!more.ok()) {
    error_ = more.status();
    return error_;
  }
  finished_ = !*more;
  return finished_ ? nullptr : &entry_;
}

absl::StatusOr<TarData> TarReader::ReadData() {
  if (!error_.ok()) return error_;
  while (region_ < regions_.size() && region_done_ == regions_[region_].size) {
    ++region_;
    region_done_ = 0;
  }
  if (region_ == regions_.size() || data_left_ == 0) return TarData{entry_.size_bytes, {}};
  const absl::StatusOr<bool> some = Fill(1);
  if (!some.ok() || !*some) {
    error_ = some.ok() ? EntryError(absl::StatusCode::kDataLoss, "the archive ends inside its data")
                       : some.status();
    return error_;
  }
  const Region& region = regions_[region_];
  const size_t count =
      std::min({static_cast<uint64_t>(end_ - begin_), data_left_, region.size - region_done_});
  const TarData data = {region.offset + region_done_, {buffer_.get() + begin_, count}};
  begin_ += count;
  position_ += count;
  data_left_ -= count;
  region_done_ += count;
  return data;
}

absl::Status TarReader::Drain() {
  if (!error_.ok()) return error_;
  for (;;) {
    begin_ = end_;
    const absl::StatusOr<bool> some = Fill(1);
    if (!some.ok()) {
      error_ = some.status();
      return error_;
    }
    if (!*some) return absl::OkStatus();
    position_ += end_ - begin_;
  }
}

}  // namespace container::archive
