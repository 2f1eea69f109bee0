// What the options of run, create and exec mean: the CLI parses with these functions and the
// apiserver checks again with them, so that both refuse the same things in the same words.
//
// All return INVALID_ARGUMENT with a sentence for a user. Pure; thread-safe.
// Source of the formats: docker's run reference; capabilities(7), setrlimit(2), hostname(7).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/container.h"

namespace container::model {

/// "nofile=1024:2048", "core=0", "memlock=unlimited" (-1 is the same). One number sets both limits.
absl::StatusOr<Rlimit> ParseUlimit(absl::string_view text);

/// "net_admin", "CAP_NET_ADMIN" to "CAP_NET_ADMIN"; "all" to "ALL".
absl::StatusOr<std::string> NormalizeCapability(absl::string_view text);

/// The default set without `drop`, then with `add`; both normalized. Every one if `privileged`.
std::vector<std::string> EffectiveCapabilities(const std::vector<std::string>& add,
                                               const std::vector<std::string>& drop,
                                               bool privileged);

/// Letters, digits, '-' and '.', at most 63 bytes, no label that is empty or has '-' at an end.
absl::Status ValidateHostname(absl::string_view hostname);

/// "key=value", or "key" for an empty value.
absl::StatusOr<std::pair<std::string, std::string>> ParseLabel(absl::string_view text);

/// "net.core.somaxconn=1024". The name is checked by its form: which there are the guest's kernel
/// knows, and they are all the container's own.
absl::StatusOr<std::pair<std::string, std::string>> ParseSysctl(absl::string_view text);
absl::Status ValidateSysctl(absl::string_view name, absl::string_view value);

/// "/path" or "/path:option,option": size=, mode=, uid=, gid=, nr_inodes=, and ro, rw, exec,
/// noexec, suid, nosuid, dev, nodev, noatime.
absl::StatusOr<TmpfsMount> ParseTmpfs(absl::string_view text);
absl::Status ValidateTmpfs(const TmpfsMount& mount);

/// "name:address", IPv4 or IPv6 (in brackets, too).
absl::StatusOr<HostEntry> ParseHostEntry(absl::string_view text);
absl::Status ValidateHostEntry(const HostEntry& entry);

/// An absolute path without "..", at most 4095 bytes.
absl::Status ValidateContainerPath(absl::string_view path);

/// `defaults` with `given` behind them; the word NONE clears what is before it.
std::vector<std::string> ExtendPaths(std::vector<std::string> defaults,
                                     const std::vector<std::string>& given);

/// A whole number of an id, 0 to 2^32-2 (2^32-1 means "leave it" to the kernel).
absl::StatusOr<uint32_t> ParseId(absl::string_view text);

/// A size for /dev/shm: at least one page.
absl::Status ValidateShmSize(int64_t bytes);

}  // namespace container::model
