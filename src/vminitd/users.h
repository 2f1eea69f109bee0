// Users and groups as an image's own /etc/passwd and /etc/group have them. glibc's own lookups are
// not used: a static program can't load the NSS modules that they need.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::vminitd {

struct User {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;  // supplemental, sorted, without duplicates
  std::string home = "/";

  bool operator==(const User&) const = default;
};

/// Resolves "user" or "user:group", each a name or a number; empty means root. `passwd` and `group`
/// are the content of the two files. A number needs no entry; without one its group is 0 and its
/// home "/". With no group named, the groups that list the user are supplemental; `extra_groups`
/// are added always. INVALID_ARGUMENT for an unknown name.
absl::StatusOr<User> ResolveUser(absl::string_view user, absl::string_view passwd,
                                 absl::string_view group, std::span<const uint32_t> extra_groups);

}  // namespace container::vminitd
