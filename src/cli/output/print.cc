#include "cli/output/print.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace container::cli {
namespace {

bool output_failed = false;

/// Like base::WriteAll, but goes on where the descriptor is non-blocking (a shell shares its
/// terminal with others that may have set it so). 0 or an errno.
int WriteOut(int fd, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t count = ::write(fd, text.data(), text.size());
    if (count >= 0) {
      text.remove_prefix(static_cast<size_t>(count));
    } else if (errno == EAGAIN) {
      pollfd out{fd, POLLOUT, 0};
      ::poll(&out, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace

void Print(absl::string_view text) {
  if (output_failed) return;
  const int error = WriteOut(STDOUT_FILENO, text);
  if (error == 0) return;
  output_failed = true;
  if (error == EPIPE) {
    // SIGPIPE was ignored by whoever started us, or the signal would have ended us in write(2).
    ::_exit(128 + SIGPIPE);
  }
  PrintError(absl::StrCat("standard output: ", std::strerror(error)));
}

void PrintLine(absl::string_view text) { Print(absl::StrCat(text, "\n")); }

void PrintError(absl::string_view message) {
  WriteOut(STDERR_FILENO, absl::StrCat("Error: ", message, "\n"));
}

void PrintWarning(absl::string_view message) {
  WriteOut(STDERR_FILENO, absl::StrCat("Warning: ", message, "\n"));
}

void PrintHint(absl::string_view text) { WriteOut(STDERR_FILENO, absl::StrCat(text, "\n")); }

int Fail(const absl::Status& status) {
  PrintError(status.message());
  if (const auto hint = status.GetPayload(kHintPayload); hint.has_value()) {
    PrintHint(std::string(*hint));
  }
  return 1;
}

int Fail(absl::string_view what, const absl::Status& status) {
  absl::Status annotated(status.code(), absl::StrCat(what, ": ", status.message()));
  if (const auto hint = status.GetPayload(kHintPayload); hint.has_value()) {
    annotated.SetPayload(kHintPayload, *hint);
  }
  return Fail(annotated);
}

bool OutputFailed() { return output_failed; }

absl::Status WithHint(absl::Status status, absl::string_view hint) {
  if (!status.ok()) status.SetPayload(kHintPayload, absl::Cord(hint));
  return status;
}

}  // namespace container::cli
