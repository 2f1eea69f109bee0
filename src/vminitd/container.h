// One container: a thread that lives in its namespaces, and from which its processes are born.
//
// Linux keeps namespaces by thread. This one unshares its mount, uts, ipc and (for its children)
// pid namespaces, makes the container's root its own, and from then on sees exactly what a process
// of the container sees: the image's /etc/passwd is /etc/passwd, and no link leads out. Only the
// descriptors it was given reach what is outside.
//
// Thread rules: one owner, which calls everything here and outlives it; jobs run on the container's
// thread, one after the other, and answer through callbacks called on that thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fd.h"
#include "proto/vminitd.pb.h"
#include "vminitd/mounts.h"
#include "vminitd/spawn.h"

namespace container::vminitd {

/// A process as it came from its start, with the agent's ends of its standard streams. All are
/// non-blocking.
struct StartedProcess {
  pid_t pid = 0;        // at most 0: no process was made
  absl::Status status;  // why there is no process, unless its program could not be executed
  v1::ExecFailure exec_failure;  // set if exit_code is not 0
  base::Fd standard_input;       // write; not valid if the process has none
  base::Fd standard_output;      // read; the pty's master with a terminal
  base::Fd standard_error;       // read; not valid with a terminal
};

class Container {
 public:
  /// Starts the thread, and on it the mounts of `disks` at once.
  explicit Container(RootDisks disks);
  /// Ends the thread after the jobs that are queued; the container's mounts go with it when its
  /// processes are gone.
  ~Container();
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  const RootDisks& disks() const { return disks_; }

  using CreateDone = std::function<void(absl::Status)>;
  /// Gives the container its name and cgroup, once its root is there.
  void Create(v1::CreateContainerRequest request, CreateDone done);

  using StartDone = std::function<void(StartedProcess)>;
  /// Starts a process. `process_is_first` and `spec` are valid until `done` was called.
  void Start(const v1::ProcessSpec& spec, bool process_is_first, StartDone done);

 private:
  void Run();
  void Post(std::function<void()> job);
  absl::Status Prepare();
  absl::Status CreateNow(const v1::CreateContainerRequest& request);
  absl::Status SetSysctls(const v1::CreateContainerRequest& request);
  StartedProcess StartNow(const v1::ProcessSpec& spec, bool first);
  absl::Status OpenStreams(const ProcessPlan& plan, const v1::ProcessSpec& spec, bool first,
                           SpawnOptions& options, StartedProcess& started,
                           std::vector<base::Fd>& child_ends);
  absl::StatusOr<base::FdPair> OpenTerminal(const v1::ProcessSpec& spec, bool first);

  const RootDisks disks_;

  // On the container's thread only.
  absl::Status prepared_;
  absl::Status created_ = absl::FailedPreconditionError("the container is not created");
  NamespaceViews views_;
  bool use_init_ = false;
  base::Fd outer_mounts_;      // the guest's own mount namespace, to leave by
  base::Fd cgroup_root_;       // of the cgroup2 hierarchy
  base::Fd proc_;              // the guest's /proc
  base::Fd devices_;           // the guest's /dev
  base::Fd cgroup_;            // the container's
  base::Fd cgroup_namespace_;  // of its first process

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;  // guarded by mutex_; an empty one ends the thread
  std::thread thread_;
};

}  // namespace container::vminitd
