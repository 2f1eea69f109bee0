// Bounds and names that the guest's agent keeps to, in one place.
#pragma once

#include <chrono>
#include <cstddef>

namespace container::vminitd {

/// The largest piece of a standard stream in one message.
inline constexpr size_t kMaxChunkBytes = size_t{64} << 10;

/// The largest /etc/passwd or /etc/group that is read.
inline constexpr size_t kMaxUserDatabaseBytes = size_t{4} << 20;

/// Of the virtio-serial port.
inline constexpr char kAgentPortName[] = "agent";

/// The serials that the host gives a container's two disks. They are mounted while the agent
/// channel comes up; another pair works as well, later.
inline constexpr char kLowerSerial[] = "root";
inline constexpr char kUpperSerial[] = "writable";

/// How long RunProcess waits for a CreateContainer that it may have overtaken.
inline constexpr std::chrono::milliseconds kCreateGrace{1000};

/// How many processes may run under the agent at once, and how many containers.
inline constexpr size_t kMaxProcesses = 1024;
inline constexpr size_t kMaxContainers = 64;

}  // namespace container::vminitd
