#include "vminitd/users.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"

namespace container::vminitd {
namespace {

// 2^32-1 is "no change" to setresuid(2).
std::optional<uint32_t> ParseId(absl::string_view text) {
  uint32_t id;
  if (text.empty() || text[0] == '+' || text[0] == '-' || !absl::SimpleAtoi(text, &id) ||
      id == std::numeric_limits<uint32_t>::max()) {
    return std::nullopt;
  }
  return id;
}

struct PasswdEntry {
  std::string name;
  uint32_t uid;
  uint32_t gid;
  std::string home;
};

std::optional<PasswdEntry> FindUser(absl::string_view passwd, absl::string_view user) {
  const std::optional<uint32_t> wanted_uid = ParseId(user);
  std::optional<PasswdEntry> by_uid;
  for (absl::string_view line : absl::StrSplit(passwd, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() < 4 || fields[0].empty() || fields[0][0] == '#') continue;
    const std::optional<uint32_t> uid = ParseId(fields[2]);
    const std::optional<uint32_t> gid = ParseId(fields[3]);
    if (!uid || !gid) continue;
    const bool by_name = fields[0] == user;
    if (!by_name && (by_uid || uid != wanted_uid)) continue;
    PasswdEntry entry{std::string(fields[0]), *uid, *gid,
                      std::string(fields.size() > 5 ? fields[5] : "")};
    // A name that looks like a number wins over the number, as with docker.
    if (by_name) return entry;
    by_uid = std::move(entry);
  }
  return by_uid;
}

}  // namespace

absl::StatusOr<User> ResolveUser(absl::string_view user, absl::string_view passwd,
                                 absl::string_view group, std::span<const uint32_t> extra_groups) {
  absl::string_view user_part = user;
  absl::string_view group_part;
  if (size_t colon = user.find(':'); colon != absl::string_view::npos) {
    user_part = user.substr(0, colon);
    group_part = user.substr(colon + 1);
    if (group_part.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("user '", user, "' names an empty group"));
    }
  }
  if (user_part.empty()) user_part = "0";

  User result;
  std::string name;
  if (std::optional<PasswdEntry> entry = FindUser(passwd, user_part)) {
    result.uid = entry->uid;
    result.gid = entry->gid;
    name = std::move(entry->name);
    if (!entry->home.empty()) result.home = std::move(entry->home);
  } else if (std::optional<uint32_t> uid = ParseId(user_part)) {
    result.uid = *uid;
    if (*uid == 0) {
      name = "root";
      // An image without /etc/passwd still has a root with root's customary home.
      result.home = "/root";
    }
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("unable to find user ", user_part, ": no matching entries in passwd file"));
  }

  std::optional<uint32_t> group_by_name;
  std::optional<uint32_t> group_by_id = ParseId(group_part);
  for (absl::string_view line : absl::StrSplit(group, '\n')) {
    const std::vector<absl::string_view> fields = absl::StrSplit(line, ':');
    if (fields.size() < 3 || fields[0].empty() || fields[0][0] == '#') continue;
    const std::optional<uint32_t> gid = ParseId(fields[2]);
    if (!gid) continue;
    if (!group_part.empty()) {
      if (fields[0] == group_part && !group_by_name) group_by_name = gid;
    } else if (fields.size() > 3 && !name.empty()) {
      for (absl::string_view member : absl::StrSplit(fields[3], ',')) {
        if (member == name) result.groups.push_back(*gid);
      }
    }
  }
  if (!group_part.empty()) {
    if (group_by_name) {
      result.gid = *group_by_name;
    } else if (group_by_id) {
      result.gid = *group_by_id;
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("unable to find group ", group_part, ": no matching entries in group file"));
    }
  }
  result.groups.insert(result.groups.end(), extra_groups.begin(), extra_groups.end());
  std::sort(result.groups.begin(), result.groups.end());
  result.groups.erase(std::unique(result.groups.begin(), result.groups.end()), result.groups.end());
  return result;
}

}  // namespace container::vminitd
