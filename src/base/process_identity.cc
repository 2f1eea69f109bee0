#include "base/process_identity.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/status.h"

namespace container::base {

absl::StatusOr<ProcessIdentity> IdentifyProcess(pid_t pid) {
  if (pid <= 0) return absl::InvalidArgumentError("not a process id");
  auto stat = ReadFile(absl::StrCat("/proc/", pid, "/stat"), 4096);
  if (!stat.ok()) return absl::NotFoundError(absl::StrCat("no process ", pid));
  // The command's name stands in parentheses and may hold blanks and parentheses itself.
  const size_t end = stat->rfind(')');
  if (end == std::string::npos) return absl::InternalError("/proc/<pid>/stat is malformed");
  std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(*stat).substr(end + 1), ' ', absl::SkipEmpty());
  ProcessIdentity identity{pid, 0};
  // The list begins with field 3, the state.
  if (fields.size() < 20 || !absl::SimpleAtoi(fields[19], &identity.start_ticks)) {
    return absl::InternalError("/proc/<pid>/stat is malformed");
  }
  if (fields[0] == "Z" || fields[0] == "X") {
    return absl::NotFoundError(absl::StrCat("process ", pid, " has ended"));
  }
  return identity;
}

absl::StatusOr<Fd> OpenProcess(const ProcessIdentity& identity) {
  if (identity.pid <= 0) return absl::InvalidArgumentError("not a process id");
  Fd pidfd(static_cast<int>(::syscall(SYS_pidfd_open, identity.pid, 0)));
  if (!pidfd) return ErrnoStatus("pidfd_open");
  // Asked after the open: what has this pid now is what the pidfd means.
  ASSIGN_OR_RETURN(ProcessIdentity now, IdentifyProcess(identity.pid));
  if (now != identity) {
    return absl::NotFoundError(absl::StrCat("process ", identity.pid, " is another one now"));
  }
  return pidfd;
}

}  // namespace container::base
