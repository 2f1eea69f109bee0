// What a ProcessSpec means in a given container, worked out before the process is made: pure, so
// that the child between clone and execve has nothing left to compute.
#pragma once

#include <sys/resource.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/vminitd.pb.h"
#include "vminitd/users.h"

namespace container::vminitd {

struct ResourceLimit {
  std::string name;
  int resource = 0;
  rlimit value{};
};

struct ProcessPlan {
  std::vector<std::string> arguments;    // at least one
  std::vector<std::string> environment;  // complete
  std::vector<std::string> candidates;   // paths to try in turn, at least one
  bool searched = false;                 // the candidates come from PATH
  std::string working_directory;         // absolute
  User user;
  uint64_t capabilities = 0;
  std::vector<ResourceLimit> limits;
  bool no_new_privileges = false;
  bool terminal = false;
  bool standard_input = false;
};

/// Everything that can be said against a specification without looking into the container.
absl::Status ValidateProcessSpec(const v1::ProcessSpec& spec);

/// `passwd` and `group` are the container's files. INVALID_ARGUMENT as by ValidateProcessSpec, and
/// for users and groups that are not there.
absl::StatusOr<ProcessPlan> PlanProcess(const v1::ProcessSpec& spec, absl::string_view passwd,
                                        absl::string_view group);

/// The environment with what every program may count on: PATH, HOME and, with a terminal, TERM.
std::vector<std::string> CompleteEnvironment(std::vector<std::string> environment,
                                             absl::string_view home, bool terminal);

/// Where execve finds `program`: itself if it holds a slash, else below each folder of `path`.
std::vector<std::string> ExecCandidates(absl::string_view program, absl::string_view path);

/// What the failed execve of a program means for a shell's and docker's users: 127 and 126, and
/// a message in docker's words. `error_number` is ENOENT only if no candidate exists;
/// `file_exists` tells a missing program from a missing interpreter.
v1::ExecFailure DescribeExecFailure(absl::string_view program, bool searched, bool file_exists,
                                    int error_number);

}  // namespace container::vminitd
