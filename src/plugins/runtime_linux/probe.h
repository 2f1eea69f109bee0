// Whether this host can boot a kernel under an accelerator: by booting it.
//
// A device node that opens proves nothing: on some hosts /dev/kvm makes VMs that never reach user
// space.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/statusor.h"
#include "plugins/runtime_linux/qemu/spec.h"
#include "plugins/runtime_linux/tsc.h"

namespace container::runtime_linux {

struct ProbeOptions {
  Accelerator accelerator = Accelerator::kKvm;
  std::string qemu_program;
  std::string kernel_path;
  std::string initramfs_path;
  std::chrono::milliseconds timeout{4000};
  TscMeter tsc;
};

/// The release of the kernel in the guest, or why none came up. QEMU is gone when it returns.
absl::StatusOr<std::string> Probe(const ProbeOptions& options);

}  // namespace container::runtime_linux
