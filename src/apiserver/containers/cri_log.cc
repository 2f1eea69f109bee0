#include "apiserver/containers/cri_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/units.h"

namespace container::apiserver {
namespace {

constexpr int64_t kTogetherNs = 1'000'000;

/// Cuts the next word off `text`; nothing if no space follows it.
std::optional<absl::string_view> TakeWord(absl::string_view& text) {
  const size_t space = text.find(' ');
  if (space == absl::string_view::npos) return std::nullopt;
  absl::string_view word = text.substr(0, space);
  text.remove_prefix(space + 1);
  return word;
}

}  // namespace

std::optional<LogRecord> ParseCriLine(absl::string_view line) {
  const auto time = TakeWord(line);
  const auto stream = TakeWord(line);
  if (!time || !stream || (*stream != "stdout" && *stream != "stderr")) return std::nullopt;
  // An empty text may come without the space before it.
  const absl::string_view tag = line.substr(0, line.find(' '));
  const bool full = tag == "F" || tag.substr(0, 2) == "F:";
  if (!full && tag != "P" && tag.substr(0, 2) != "P:") return std::nullopt;
  auto parsed = base::ParseTimestamp(*time);
  if (!parsed.ok()) return std::nullopt;
  line.remove_prefix(std::min(line.size(), tag.size() + 1));
  return LogRecord{base::NanosecondsOf(*parsed), *stream == "stderr",
                   absl::StrCat(line, full ? "\n" : "")};
}

absl::StatusOr<LogReader> LogReader::Open(const std::string& path, Format format, int64_t tail) {
  ASSIGN_OR_RETURN(base::Fd file, base::Open(path, O_RDONLY));
  LogReader reader(std::move(file), format);
  if (tail >= 0) RETURN_IF_ERROR(reader.SeekTail(tail), path);
  return reader;
}

absl::Status LogReader::SeekTail(int64_t lines) {
  struct stat info;
  if (::fstat(file_.get(), &info) != 0) return base::ErrnoStatus("fstat");
  // Backwards, until as many whole lines as wanted lie between here and the end. A record marked P
  // does not end a line; the line that holds it is told from the next record's start.
  constexpr off_t kBlock = 64 << 10;
  off_t start = info.st_size;
  int64_t ends = 0;
  std::string carry;  // the beginning of the line whose rest was seen already
  std::vector<char> block(kBlock);
  const auto ends_line = [this](absl::string_view line) {
    if (format_ == Format::kRaw) return true;
    auto record = ParseCriLine(line);
    return !record.has_value() || (!record->text.empty() && record->text.back() == '\n');
  };
  while (start > 0) {
    const off_t begin = std::max<off_t>(0, start - kBlock);
    const ssize_t size = ::pread(file_.get(), block.data(), start - begin, begin);
    if (size < 0) return base::ErrnoStatus("pread");
    if (size != start - begin) break;  // The file was cut short under our feet.
    carry.insert(0, block.data(), static_cast<size_t>(size));
    // Whole lines of `carry` are those behind its first newline (or all, at the file's beginning).
    size_t end = carry.size();
    while (end > 0) {
      const size_t newline = carry.rfind('\n', end - 1);
      if (newline == std::string::npos) break;
      const size_t line_end = newline;
      const size_t before = line_end == 0 ? std::string::npos : carry.rfind('\n', line_end - 1);
      if (before == std::string::npos && begin > 0) break;
      const size_t line_begin = before == std::string::npos ? 0 : before + 1;
      if (ends_line(absl::string_view(carry).substr(line_begin, line_end - line_begin)) &&
          ++ends > lines) {
        // That line is the last one not wanted.
        ::lseek(file_.get(), begin + static_cast<off_t>(line_end) + 1, SEEK_SET);
        return absl::OkStatus();
      }
      end = line_begin;
      if (line_begin == 0) break;
    }
    carry.resize(end);
    start = begin;
    // The next round reads only what lies before; `carry` stays in front of it.
    if (carry.size() > (16u << 20)) break;
  }
  ::lseek(file_.get(), 0, SEEK_SET);
  return absl::OkStatus();
}

absl::StatusOr<bool> LogReader::Fill() {
  if (taken_ > 0) {
    buffer_.erase(0, taken_);
    taken_ = 0;
  }
  std::array<char, kMostLogBytes> block;
  ASSIGN_OR_RETURN(size_t size, base::ReadSome(file_.get(), block));
  buffer_.append(block.data(), size);
  return size > 0;
}

std::optional<LogRecord> LogReader::TakeRecord() {
  absl::string_view rest = absl::string_view(buffer_).substr(taken_);
  const size_t newline = rest.find('\n');
  // A line beyond all bounds is passed on in pieces.
  const bool endless = newline == absl::string_view::npos && rest.size() >= kMostLogBytes;
  if (newline == absl::string_view::npos && !endless) return std::nullopt;
  const size_t size = endless ? kMostLogBytes : newline;
  absl::string_view line = rest.substr(0, size);
  taken_ += size + (endless ? 0 : 1);
  if (auto record = ParseCriLine(line)) return record;
  return LogRecord{0, false, absl::StrCat(line, endless ? "" : "\n")};
}

absl::StatusOr<std::optional<LogChunk>> LogReader::Next() {
  if (format_ == Format::kRaw) {
    if (taken_ == buffer_.size()) {
      ASSIGN_OR_RETURN(bool more, Fill());
      if (!more) return std::nullopt;
    }
    LogChunk chunk{buffer_.substr(taken_, kMostLogBytes)};
    taken_ += chunk.data.size();
    return chunk;
  }
  std::optional<LogChunk> chunk;
  for (;;) {
    if (!ahead_.has_value()) ahead_ = TakeRecord();
    if (!ahead_.has_value()) {
      if (chunk.has_value()) return chunk;
      ASSIGN_OR_RETURN(bool more, Fill());
      if (!more) return std::nullopt;
      continue;
    }
    if (!chunk.has_value()) {
      chunk = LogChunk{std::move(ahead_->text), ahead_->standard_error, ahead_->time_ns};
      ahead_.reset();
      if (chunk->data.size() > kMostLogBytes) {
        ahead_ =
            LogRecord{chunk->time_ns, chunk->standard_error, chunk->data.substr(kMostLogBytes)};
        chunk->data.resize(kMostLogBytes);
        return chunk;
      }
      continue;
    }
    if (ahead_->standard_error != chunk->standard_error ||
        ahead_->time_ns - chunk->time_ns >= kTogetherNs || ahead_->time_ns < chunk->time_ns ||
        chunk->data.size() + ahead_->text.size() > kMostLogBytes) {
      return chunk;
    }
    chunk->data += ahead_->text;
    ahead_.reset();
  }
}

}  // namespace container::apiserver
