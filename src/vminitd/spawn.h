// Makes a process: clone3(2) of the calling thread, the child's last steps, execve(2).
//
// The calling thread is already in the container's mount, uts and ipc namespaces, and its children
// are born into the container's pid namespace (see container.h). The child shares this program's
// memory and holds the calling thread up until it has executed or failed (as vfork(2) does):
// copying page tables and breaking pages apart would cost an emulated machine milliseconds.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "vminitd/process_plan.h"

namespace container::vminitd {

/// What the container's first process mounts, for all.
struct NamespaceViews {
  std::vector<std::string> masked_paths;
  std::vector<std::string> read_only_paths;
  bool read_only_root = false;
  bool writable_cgroups = false;
};

struct SpawnOptions {
  const ProcessPlan* plan = nullptr;
  int standard_input = -1;  // with a terminal all three are the pty's slave
  int standard_output = -1;
  int standard_error = -1;
  int cgroup = -1;            // folder of the cgroup to be born into; -1: the caller's
  int cgroup_namespace = -1;  // of a further process; -1: the child makes one
  // The container's first process also mounts what depends on its pid and cgroup namespaces.
  bool first = false;
  const NamespaceViews* views = nullptr;  // for the first process
  // The first process is an init of our own, and the plan's program its child.
  bool use_init = false;
};

struct SpawnResult {
  /// The child in this pid namespace, also where it failed: it must be reaped then too. At most 0
  /// if there is no child.
  pid_t pid = 0;
  /// 0 if the program runs.
  int error_number = 0;
  /// What failed, a static string or one of `plan` or `views`; null if it was execve.
  const char* failed_step = nullptr;
  bool file_exists = false;  // at least one candidate exists
};

SpawnResult Spawn(const SpawnOptions& options);

}  // namespace container::vminitd
