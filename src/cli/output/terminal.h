// The terminal that the user sits at.
#pragma once

#include <termios.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"

namespace container::cli {

struct TerminalSize {
  uint32_t rows = 0;  // 0: not known
  uint32_t columns = 0;
  friend bool operator==(const TerminalSize&, const TerminalSize&) = default;
};

/// Of the terminal behind `fd`; zeros if it is none.
TerminalSize SizeOf(int fd);

/// A terminal in raw mode (cfmakeraw(3)) for as long as the object lives. Restores the former mode
/// even from a background process group.
class TerminalGuard {
 public:
  /// FAILED_PRECONDITION if `fd` is no terminal. `fd` must outlive the object.
  static absl::StatusOr<std::unique_ptr<TerminalGuard>> MakeRaw(int fd);
  TerminalGuard(const TerminalGuard&) = delete;
  TerminalGuard& operator=(const TerminalGuard&) = delete;
  ~TerminalGuard();

  /// Raw again, after a stop and continue during which a shell has changed the mode.
  absl::Status Reapply();

 private:
  TerminalGuard(int fd, const termios& former) : fd_(fd), former_(former) {}
  int fd_;
  termios former_;
};

}  // namespace container::cli
