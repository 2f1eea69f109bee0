// A container's VM as pure data, and the QEMU command line that makes it.
//
// Everything QEMU opens comes to it as a descriptor, but for the kernel and the initramfs, which it
// reads once at its start. The machine is microvm with virtio-mmio devices alone: nothing to
// enumerate, nothing to emulate that a container has no use for.
//
// Source: qemu(1), docs/system/i386/microvm.rst and qapi of QEMU 7.2, the oldest one supported.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/subprocess.h"

namespace container::runtime_linux {

enum class Accelerator { kKvm, kTcg };

/// "kvm" or "tcg"; INVALID_ARGUMENT otherwise.
absl::StatusOr<Accelerator> ParseAccelerator(absl::string_view text);
absl::string_view AcceleratorName(Accelerator accelerator);

/// A virtio-blk disk backed by a raw image.
struct VmDisk {
  std::string serial;  // what the guest finds it by, at most 20 bytes
  int fd = -1;         // not owned; open for reading, and for writing unless read_only
  bool read_only = false;
  friend bool operator==(const VmDisk&, const VmDisk&) = default;
};

struct VmSpec {
  std::string program = "qemu-system-x86_64";
  std::string name;  // shown by ps(1)
  Accelerator accelerator = Accelerator::kTcg;
  int cpus = 1;
  int64_t memory_bytes = int64_t{128} << 20;  // rounded up to whole MiB
  std::string kernel_path;
  std::string initramfs_path;
  std::string command_line;  // of the kernel; see KernelCommandLine
  std::vector<VmDisk> disks;

  // Sockets, not owned: one end of a socketpair each, the other end is the helper's.
  int qmp_fd = -1;
  int agent_fd = -1;
  int console_fd = -1;  // also QEMU's standard error
};

/// The kernel's command line. `tsc_khz`, the frequency of the host's time stamp counter, is used
/// under TCG alone (see tsc.h). With `debug` the kernel's messages go to the console.
std::string KernelCommandLine(Accelerator accelerator, std::optional<int64_t> tsc_khz, bool debug);

/// The child that is this VM. The same spec gives the same command line, whatever the numbers of
/// the descriptors are.
base::SubprocessSpec ToSubprocess(const VmSpec& spec);

}  // namespace container::runtime_linux
