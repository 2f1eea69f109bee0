#include "plugins/runtime_linux/process_log.h"

#include <fcntl.h>

#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/units.h"

namespace container::runtime_linux {

std::string FormatLogRecords(absl::string_view time, absl::string_view stream,
                             absl::string_view data) {
  std::string records;
  while (!data.empty()) {
    const size_t newline = data.substr(0, ProcessLog::kMaxRecordBytes + 1).find('\n');
    const bool whole = newline != absl::string_view::npos;
    const absl::string_view text =
        data.substr(0, whole ? newline : std::min(data.size(), ProcessLog::kMaxRecordBytes));
    absl::StrAppend(&records, time, " ", stream, whole ? " F " : " P ", text, "\n");
    data.remove_prefix(text.size() + (whole ? 1 : 0));
  }
  return records;
}

absl::StatusOr<ProcessLog> ProcessLog::Open(const std::string& path) {
  ASSIGN_OR_RETURN(base::Fd file, base::Open(path, O_WRONLY | O_CREAT | O_APPEND, 0600));
  return ProcessLog(std::move(file));
}

absl::Status ProcessLog::Append(absl::string_view stream, absl::string_view data) {
  return base::WriteAll(
      file_.get(),
      FormatLogRecords(base::FormatTimestamp(std::chrono::system_clock::now()), stream, data));
}

}  // namespace container::runtime_linux
