#include "plugins/runtime_linux/console_log.h"

#include <fcntl.h>
#include <stdio.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::runtime_linux {

absl::StatusOr<ConsoleLog> ConsoleLog::Create(std::string path) {
  ConsoleLog log(std::move(path));
  RETURN_IF_ERROR(log.Open());
  return log;
}

absl::Status ConsoleLog::Open() {
  if (path_.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(file_, base::Open(path_, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600));
  size_bytes_ = 0;
  return absl::OkStatus();
}

void ConsoleLog::Append(absl::string_view text) {
  tail_.append(text.data(), text.size());
  if (tail_.size() > 2 * kTailBytes) tail_.erase(0, tail_.size() - kTailBytes);
  if (!file_) return;
  if (size_bytes_ + text.size() > kMaxFileBytes) {
    ::rename(path_.c_str(), absl::StrCat(path_, ".1").c_str());
    if (!Open().ok()) return;
  }
  if (base::WriteAll(file_.get(), text).ok()) size_bytes_ += text.size();
}

std::string ConsoleLog::Tail() const {
  std::string printable;
  for (char c : tail_) {
    if (absl::ascii_isprint(static_cast<unsigned char>(c)) || c == '\n') printable += c;
  }
  if (printable.size() > kTailBytes) printable.erase(0, printable.size() - kTailBytes);
  return std::string(absl::StripAsciiWhitespace(printable));
}

}  // namespace container::runtime_linux
