// The paths that a container may not see or not write unless its user says otherwise; docker's.
// Shared by the host and the guest.
#pragma once

namespace container::model {

/// Hidden beneath an empty file or folder.
inline constexpr const char* kDefaultMaskedPaths[] = {
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
};

inline constexpr const char* kDefaultReadOnlyPaths[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

}  // namespace container::model
