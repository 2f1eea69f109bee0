// The mounts of the guest itself and of a container's root.
//
// Nothing here is shared between threads but the kernel's state: MountGuest runs once in main, the
// others on the container's thread, in its own mount namespace.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "proto/vminitd.pb.h"

namespace container::vminitd {

/// A virtio-blk device by the serial that the host gave it, and what is on it.
struct Disk {
  std::string serial;
  std::string filesystem;  // "erofs" or "ext4"

  bool operator==(const Disk&) const = default;
};

struct RootDisks {
  Disk lower;
  Disk upper;

  bool operator==(const RootDisks&) const = default;
};

/// Mounts /proc, /sys, /dev, /run and the cgroup2 hierarchy, opens /dev/null as descriptors 0 to 2
/// where they are closed, and moves the root onto a mount that pivot_root(2) can leave, which the
/// kernel's own initial root isn't.
absl::Status MountGuest();

/// Sets what containers need of the guest's kernel: as docker does, unprivileged ping and low
/// ports; the loopback device up; and a small reserve of free memory. Logs what fails.
void ConfigureKernel();

/// The path of the device with this serial. NOT_FOUND if no virtio-blk device has it.
absl::StatusOr<std::string> FindDisk(const std::string& serial);

/// Mounts the two disks, joins them, makes the result the root of the calling thread, whose mount
/// namespace holds nothing else afterwards, and fills /dev and /sys. `scratch` is a new folder's
/// path in /run. The calling thread has unshared its mount and ipc namespaces and its root.
/// /proc and /sys/fs/cgroup are left to the first process.
absl::Status EnterRoot(const RootDisks& disks, const std::string& scratch);

/// Writes /etc/hostname and /etc/hosts: all anew with `own_host_files`, else where the image has
/// none or empty ones.
absl::Status WriteHostFiles(const v1::CreateContainerRequest& request);

/// The functions below are called on the container's thread, after EnterRoot.

/// Makes /dev/shm hold so many bytes.
absl::Status ResizeShm(int64_t bytes);

/// A folder in memory; made where it is missing.
absl::Status MountTmpfs(const v1::Tmpfs& tmpfs);

/// All device nodes of the guest's `devices` folder in /dev, and /sys writable.
absl::Status OpenToPrivileged(int devices);

/// mkdir -p in the container's root, as root, with mode 0755.
absl::Status MakeFolders(const std::string& path);

}  // namespace container::vminitd
