#include "cli/output/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/fd.h"
#include "base/units.h"
#include "cli/output/table.h"
#include "cli/output/terminal.h"

namespace container::cli {
namespace {

constexpr auto kRedrawInterval = std::chrono::milliseconds(100);
constexpr auto kPlainInterval = std::chrono::seconds(5);
constexpr size_t kBarWidth = 24;

std::string Amount(int64_t value, bool bytes) {
  return bytes ? base::FormatSize(value) : absl::StrCat(value);
}

int Percent(const ProgressEvent& event) {
  if (event.total <= 0) return 0;
  const double share = static_cast<double>(event.completed) / static_cast<double>(event.total);
  return static_cast<int>(std::clamp(share, 0.0, 1.0) * 100);
}

/// "3.4 MiB of 10.0 MiB", or what is known of it.
std::string Amounts(const ProgressEvent& event) {
  if (event.done) {
    const int64_t amount = std::max(event.completed, event.total);
    return amount == 0 ? "" : Amount(amount, event.bytes);
  }
  if (event.total > 0) {
    return absl::StrCat(Amount(event.completed, event.bytes), " of ",
                        Amount(event.total, event.bytes));
  }
  return event.completed > 0 ? Amount(event.completed, event.bytes) : "";
}

/// The first `width` columns; control characters, which may come from a registry, become '?'.
std::string Cut(absl::string_view text, size_t width) {
  std::string result;
  size_t used = 0;
  for (char c : text) {
    if ((static_cast<unsigned char>(c) & 0xc0) != 0x80 && ++used > width) break;
    result += static_cast<unsigned char>(c) < 0x20 || c == 0x7f ? '?' : c;
  }
  return result;
}

}  // namespace

absl::StatusOr<ProgressMode> ParseProgressMode(absl::string_view text) {
  if (text == "none") return ProgressMode::kNone;
  if (text == "plain") return ProgressMode::kPlain;
  if (text == "ansi") return ProgressMode::kAnsi;
  if (text == "color") return ProgressMode::kColor;
  if (text != "auto") {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is none of ", kProgressModes));
  }
  const char* term = std::getenv("TERM");
  if (!::isatty(STDERR_FILENO) || term == nullptr || absl::string_view(term) == "dumb") {
    return ProgressMode::kPlain;
  }
  return std::getenv("NO_COLOR") == nullptr ? ProgressMode::kColor : ProgressMode::kAnsi;
}

void Progress::Update(const ProgressEvent& event, Clock::time_point now) {
  if (mode_ == ProgressMode::kNone) return;
  auto found = std::find_if(tasks_.begin(), tasks_.end(),
                            [&](const Task& task) { return task.last.task_id == event.task_id; });
  const bool is_new = found == tasks_.end();
  if (is_new) found = tasks_.insert(tasks_.end(), Task{{}, now, now});
  const bool was_done = found->last.done;
  found->last = event;
  if (mode_ == ProgressMode::kPlain) {
    if (!was_done) UpdatePlain(*found, is_new, now);
    return;
  }
  stale_ = true;
  if (is_new || event.done || now - drawn_at_ >= kRedrawInterval) {
    // A burst of new tasks or ends is bounded by their number; the rest by the interval.
    drawn_at_ = now;
    Draw();
  }
}

void Progress::UpdatePlain(Task& task, bool is_new, Clock::time_point now) {
  const ProgressEvent& event = task.last;
  const std::string description = Cut(event.description, 200);
  if (event.done) {
    const std::string amounts = Amounts(event);
    const double seconds = std::chrono::duration<double>(now - task.started).count();
    Write(absl::StrFormat("%s: done%s%s in %.1f s\n", description, amounts.empty() ? "" : ", ",
                          amounts, seconds));
  } else if (is_new) {
    Write(absl::StrCat(description, "\n"));
  } else if (now - task.printed >= kPlainInterval) {
    task.printed = now;
    const std::string percent =
        event.total > 0 ? absl::StrCat(" (", Percent(event), " %)") : std::string();
    Write(absl::StrCat(description, ": ", Amounts(event), percent, "\n"));
  }
}

std::string Progress::Bar(const Task& task, size_t width) const {
  const ProgressEvent& event = task.last;
  const int percent = event.done ? 100 : Percent(event);
  const size_t filled = kBarWidth * static_cast<size_t>(percent) / 100;
  std::string bar(filled, '=');
  if (filled < kBarWidth) bar += '>';
  bar.resize(kBarWidth, ' ');
  // Brackets, spaces and "1023.9 MiB of 1023.9 MiB" take 28 columns beside the bar.
  const size_t room = width < kBarWidth + 38 ? 10 : std::min<size_t>(width - kBarWidth - 28, 60);
  std::string line = Cut(event.description, room);
  line.append(room - std::min(room, DisplayWidth(line)), ' ');
  absl::StrAppend(&line, " [", bar, "] ", Amounts(event));
  line = Cut(line, width);
  if (mode_ != ProgressMode::kColor) return line;
  return absl::StrCat(event.done ? "\x1b[32m" : "\x1b[36m", line, "\x1b[0m");
}

void Progress::Draw() {
  const TerminalSize size = SizeOf(fd_);
  // The last column is left free: a full line would make some terminals wrap.
  const size_t width = (size.columns == 0 ? 80 : size.columns) - 1;
  // What has scrolled out of the screen can't be redrawn: of more tasks than lines, the last.
  const size_t room = size.rows > 2 ? size.rows - 1 : 20;
  const size_t first = tasks_.size() > room ? tasks_.size() - room : 0;
  std::string text;
  if (lines_drawn_ > 0) absl::StrAppend(&text, "\x1b[", lines_drawn_, "A");
  for (size_t i = first; i < tasks_.size(); ++i) {
    absl::StrAppend(&text, "\r\x1b[2K", Bar(tasks_[i], width), "\n");
  }
  lines_drawn_ = tasks_.size() - first;
  stale_ = false;
  Write(text);
}

void Progress::Finish() {
  if (stale_) Draw();
  tasks_.clear();
  lines_drawn_ = 0;
}

void Progress::Write(absl::string_view text) const {
  // Progress that nobody can see is not worth failing for.
  base::WriteAll(fd_, text).IgnoreError();
}

}  // namespace container::cli
