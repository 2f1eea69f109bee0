#include "vminitd/process_plan.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/status.h"
#include "vminitd/capabilities.h"

namespace container::vminitd {
namespace {

constexpr absl::string_view kDefaultPath =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
constexpr int kMaxTerminalSize = 65535;

struct LimitName {
  absl::string_view name;
  int resource;
};
constexpr LimitName kLimits[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

// RLIM_INFINITY is 2^64-1, as the protocol has it.
static_assert(RLIM_INFINITY == std::numeric_limits<uint64_t>::max());

absl::StatusOr<ResourceLimit> ParseLimit(const v1::Rlimit& limit) {
  for (const LimitName& known : kLimits) {
    if (known.name != limit.type()) continue;
    if (limit.soft() > limit.hard()) {
      return absl::InvalidArgumentError(
          absl::StrCat(limit.type(), ": the soft limit is above the hard limit"));
    }
    return ResourceLimit{limit.type(), known.resource, rlimit{limit.soft(), limit.hard()}};
  }
  return absl::InvalidArgumentError(absl::StrCat("unknown resource limit '", limit.type(), "'"));
}

bool HoldsNul(absl::string_view text) { return text.find('\0') != absl::string_view::npos; }

const std::string* FindVariable(const std::vector<std::string>& environment,
                                absl::string_view name) {
  // The last one wins, as in a shell.
  for (auto it = environment.rbegin(); it != environment.rend(); ++it) {
    if (it->size() > name.size() && absl::StartsWith(*it, name) && (*it)[name.size()] == '=') {
      return &*it;
    }
  }
  return nullptr;
}

}  // namespace

absl::Status ValidateProcessSpec(const v1::ProcessSpec& spec) {
  if (spec.arguments().empty() || spec.arguments(0).empty()) {
    return absl::InvalidArgumentError("no program is named");
  }
  for (const std::string& argument : spec.arguments()) {
    if (HoldsNul(argument)) return absl::InvalidArgumentError("an argument holds a NUL byte");
  }
  for (const std::string& variable : spec.environment()) {
    if (HoldsNul(variable) || variable.empty() || variable[0] == '=' ||
        !absl::StrContains(variable, '=')) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", variable, "' is not an environment variable"));
    }
  }
  if (HoldsNul(spec.working_directory()) ||
      (!spec.working_directory().empty() && spec.working_directory()[0] != '/')) {
    return absl::InvalidArgumentError(
        absl::StrCat("working directory '", spec.working_directory(), "' is not absolute"));
  }
  if (spec.size().rows() > kMaxTerminalSize || spec.size().columns() > kMaxTerminalSize) {
    return absl::InvalidArgumentError("the terminal is too large");
  }
  for (const v1::Rlimit& limit : spec.rlimits()) RETURN_IF_ERROR(ParseLimit(limit).status());
  return CapabilityMask(spec.capabilities()).status();
}

absl::StatusOr<ProcessPlan> PlanProcess(const v1::ProcessSpec& spec, absl::string_view passwd,
                                        absl::string_view group) {
  RETURN_IF_ERROR(ValidateProcessSpec(spec));
  ProcessPlan plan;
  plan.arguments.assign(spec.arguments().begin(), spec.arguments().end());
  plan.working_directory = spec.working_directory().empty() ? "/" : spec.working_directory();
  plan.no_new_privileges = spec.no_new_privileges();
  plan.terminal = spec.terminal();
  plan.standard_input = spec.stdin();
  for (const v1::Rlimit& limit : spec.rlimits()) {
    ASSIGN_OR_RETURN(ResourceLimit parsed, ParseLimit(limit));
    plan.limits.push_back(std::move(parsed));
  }
  ASSIGN_OR_RETURN(plan.capabilities, CapabilityMask(spec.capabilities()));
  const std::vector<uint32_t> extra(spec.supplemental_groups().begin(),
                                    spec.supplemental_groups().end());
  ASSIGN_OR_RETURN(plan.user, ResolveUser(spec.user(), passwd, group, extra));
  plan.environment = CompleteEnvironment({spec.environment().begin(), spec.environment().end()},
                                         plan.user.home, plan.terminal);
  const std::string* path = FindVariable(plan.environment, "PATH");
  plan.searched = !absl::StrContains(plan.arguments[0], '/');
  plan.candidates =
      ExecCandidates(plan.arguments[0], path == nullptr ? "" : absl::string_view(*path).substr(5));
  return plan;
}

std::vector<std::string> CompleteEnvironment(std::vector<std::string> environment,
                                             absl::string_view home, bool terminal) {
  if (FindVariable(environment, "PATH") == nullptr) {
    environment.push_back(absl::StrCat("PATH=", kDefaultPath));
  }
  if (FindVariable(environment, "HOME") == nullptr) {
    environment.push_back(absl::StrCat("HOME=", home));
  }
  if (terminal && FindVariable(environment, "TERM") == nullptr) {
    environment.push_back("TERM=xterm");
  }
  return environment;
}

std::vector<std::string> ExecCandidates(absl::string_view program, absl::string_view path) {
  if (absl::StrContains(program, '/')) return {std::string(program)};
  std::vector<std::string> candidates;
  for (absl::string_view folder : absl::StrSplit(path, ':')) {
    // An empty entry means the working directory (POSIX); it is the process's by then.
    candidates.push_back(folder.empty() ? absl::StrCat("./", program)
                                        : absl::StrCat(folder, "/", program));
  }
  return candidates;
}

v1::ExecFailure DescribeExecFailure(absl::string_view program, bool searched, bool file_exists,
                                    int error_number) {
  v1::ExecFailure failure;
  const bool missing = error_number == ENOENT;
  failure.set_exit_code(missing ? 127 : 126);
  std::string why;
  if (missing && searched && !file_exists) {
    why = "executable file not found in $PATH";
  } else if (missing && !file_exists) {
    why = absl::StrCat("stat ", program, ": no such file or directory");
  } else if (missing) {
    why = "its interpreter is missing: no such file or directory";
  } else {
    switch (error_number) {
      case EACCES:
      case EPERM:
        why = "permission denied";
        break;
      case ENOEXEC:
        why = "exec format error";
        break;
      case EISDIR:
        why = "is a directory";
        break;
      case ENOTDIR:
        why = "not a directory";
        break;
      case E2BIG:
        why = "argument list too long";
        break;
      default: {
        char buffer[128];
        why = strerror_r(error_number, buffer, sizeof buffer);
      }
    }
  }
  failure.set_message(absl::StrCat("exec: \"", program, "\": ", why));
  return failure;
}

}  // namespace container::vminitd
