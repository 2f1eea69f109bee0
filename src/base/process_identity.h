// Which process a pid means: a pid alone may have been given to another one since.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/fd.h"

namespace container::base {

struct ProcessIdentity {
  pid_t pid = 0;             // above 0 if valid
  uint64_t start_ticks = 0;  // field 22 of /proc/<pid>/stat, clock ticks since boot
  friend bool operator==(const ProcessIdentity&, const ProcessIdentity&) = default;
};

/// NOT_FOUND if no such process runs (a zombie does not).
absl::StatusOr<ProcessIdentity> IdentifyProcess(pid_t pid);

/// A pidfd of exactly that process; NOT_FOUND if it has ended, whoever has its pid now.
absl::StatusOr<Fd> OpenProcess(const ProcessIdentity& identity);

}  // namespace container::base
