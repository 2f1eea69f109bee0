#include "vminitd/guest_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>

namespace container::vminitd {
namespace {

int g_log_fd = -1;

}  // namespace

void OpenGuestLog() { g_log_fd = ::open("/dev/kmsg", O_WRONLY | O_CLOEXEC); }

void Log(const char* format, ...) {
  if (g_log_fd < 0) return;
  // <6> is KERN_INFO; the kernel takes one record a write, and cuts it at 1 KiB.
  char line[920] = "<6>vminitd: ";
  constexpr size_t kPrefix = sizeof "<6>vminitd: " - 1;
  va_list arguments;
  va_start(arguments, format);
  int length = std::vsnprintf(line + kPrefix, sizeof line - kPrefix, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  size_t total = std::min(kPrefix + static_cast<size_t>(length), sizeof line - 1);
  // A log line that can't be written has nowhere to be reported.
  [[maybe_unused]] ssize_t written = ::write(g_log_fd, line, total);
}

}  // namespace container::vminitd
