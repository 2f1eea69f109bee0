// The guest's log: single lines into the kernel's ring buffer, from where they reach the console
// that the host records.
#pragma once

namespace container::vminitd {

/// Opens /dev/kmsg. Before it, and if it fails, lines are dropped.
void OpenGuestLog();

/// printf(3) for one line of at most 900 bytes. Any thread.
[[gnu::format(printf, 1, 2)]] void Log(const char* format, ...);

}  // namespace container::vminitd
