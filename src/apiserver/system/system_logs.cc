#include "apiserver/system/system_logs.h"

#include <fcntl.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::apiserver {
namespace {

constexpr size_t kMostBytes = 64 << 10;
// A round reads so much of each file at most; logs beyond it come by rounds, merged within each.
constexpr size_t kMostOfFile = 32 << 20;

/// "2026-01-31T12:00:00.000Z", or "".
absl::string_view TimeOf(absl::string_view line) {
  const absl::string_view word = line.substr(0, line.find(' '));
  const bool looks = word.size() == 24 && word[4] == '-' && word[10] == 'T' && word[23] == 'Z';
  return looks ? word : absl::string_view();
}

}  // namespace

void SystemLogs::FindFiles() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(log_root_, error)) {
    const std::string path = entry.path();
    if (!absl::EndsWith(path, ".log") || !entry.is_regular_file(error)) continue;
    const bool known = std::any_of(sources_.begin(), sources_.end(),
                                   [&path](const Source& source) { return source.path == path; });
    if (known) continue;
    auto file = base::Open(path, O_RDONLY);
    if (file.ok()) sources_.push_back({path, *std::move(file), "", ""});
  }
}

absl::Status SystemLogs::ReadLines(Source& source, std::vector<Line>& lines) const {
  std::vector<char> block(kMostBytes);
  for (size_t total = 0; total < kMostOfFile;) {
    ASSIGN_OR_RETURN(size_t size, base::ReadSome(source.file.get(), block), source.path);
    if (size == 0) break;
    total += size;
    source.partial.append(block.data(), size);
    size_t begin = 0;
    for (size_t end; (end = source.partial.find('\n', begin)) != std::string::npos;
         begin = end + 1) {
      absl::string_view line = absl::string_view(source.partial).substr(begin, end + 1 - begin);
      if (absl::string_view time = TimeOf(line); !time.empty())
        source.last_time = std::string(time);
      if (source.last_time >= since_) lines.push_back({source.last_time, std::string(line)});
    }
    source.partial.erase(0, begin);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::optional<std::string>> SystemLogs::Next() {
  if (pending_.empty()) {
    FindFiles();
    std::vector<Line> lines;
    for (Source& source : sources_) RETURN_IF_ERROR(ReadLines(source, lines));
    std::stable_sort(lines.begin(), lines.end(),
                     [](const Line& a, const Line& b) { return a.time < b.time; });
    for (const Line& line : lines) pending_ += line.text;
    if (pending_.empty()) return std::nullopt;
  }
  std::string chunk = pending_.substr(0, kMostBytes);
  pending_.erase(0, chunk.size());
  return chunk;
}

std::vector<std::string> SystemLogs::Files() const {
  std::vector<std::string> files;
  for (const Source& source : sources_) files.push_back(source.path);
  return files;
}

}  // namespace container::apiserver
