// One container: its state, its queue, its runtime helper while it has one, and who waits for it.
//
// Every change of state is an entry of the table in transitions.h and happens in the container's
// own queue, so that slow work (a boot, a copy) holds up nothing but its own container. The
// helper's end is watched by its pidfd and is the one source of "it has ended": stopping asks the
// helper to end and then waits for exactly that, with a deadline after which the helper is killed,
// and its VM with it.
//
// Lifetime: shared. The manager drops it when it is deleted; queue tasks and watches hold it until
// they have run. All that ContainerContext refers to outlives every container.
//
// Thread-safe. Callbacks run in the queue or at once in the caller, never under a lock, exactly
// once.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "apiserver/concurrency/event_loop.h"
#include "apiserver/concurrency/task_pool.h"
#include "apiserver/containers/bundle_maker.h"
#include "apiserver/containers/runtime_client.h"
#include "apiserver/containers/state_store.h"
#include "apiserver/containers/transitions.h"
#include "apiserver/plugins/helper_process.h"
#include "base/paths.h"
#include "model/container.h"

namespace container::apiserver {

/// How a container's run ended.
struct Exit {
  int exit_code = 0;
  int64_t finished_ns = 0;
  friend bool operator==(const Exit&, const Exit&) = default;
};

struct ContainerContext {
  TaskPool& pool;
  EventLoop& loop;
  StateStore& store;
  BundleMaker& bundles;
  const base::Paths& paths;
  /// Kernel, QEMU and accelerator of a VM that starts now; may wait for the accelerator's probe.
  std::function<absl::StatusOr<model::RuntimeConfiguration>()> runtime_configuration;
  /// Takes the container off the list. `exit`: of its last run, if it had one.
  std::function<void(const std::string& id, std::optional<Exit> exit)> on_gone;
};

struct StartParameters {
  common::v1::Stdio stdio;
  common::v1::TerminalSize size;
};

class Container : public std::enable_shared_from_this<Container> {
 public:
  using Done = std::function<void(absl::Status)>;
  using StartDone = std::function<void(absl::StatusOr<runtime::v1::StartProcessResponse>)>;
  using WaitDone = std::function<void(absl::StatusOr<Exit>)>;

  /// As the database knows it.
  Container(ContainerContext& context, model::ContainerConfiguration configuration,
            const ContainerRow& row);

  const std::string& id() const { return configuration_.id; }
  const model::ContainerConfiguration& configuration() const { return configuration_; }
  State state() const;
  model::ContainerStatus status() const;
  /// Of its runtime helper; 0 if it has none.
  pid_t helper_pid() const;

  /// Finds the helper of an earlier apiserver again, or learns how it ended. `done` runs when the
  /// state is right. Only before any other call.
  void Recover(std::function<void()> done);

  void Start(StartParameters parameters, StartDone done);
  /// signal 0 and a negative timeout: the container's own. OK if it does not run.
  void Stop(int signal, int64_t timeout_ms, Done done);
  void Delete(bool force, Done done);

  /// Calls back when the present run has ended (with auto-remove: when the container is gone); at
  /// once if none is under way. FAILED_PRECONDITION if there never was one.
  uint64_t Wait(WaitDone done);
  /// The callback may still be under way, but will not be started any more.
  void CancelWait(uint64_t token);

  /// FAILED_PRECONDITION if it does not run.
  absl::StatusOr<std::shared_ptr<RuntimeClient>> RunningClient() const;

 private:
  // In the queue only.
  absl::StatusOr<runtime::v1::StartProcessResponse> DoStart(const StartParameters& parameters);
  absl::Status LaunchHelper(const model::RuntimeConfiguration& runtime);
  absl::StatusOr<runtime::v1::StartProcessResponse> StartFirstProcess(
      const StartParameters& parameters);
  absl::Status FailStart(absl::Status why, std::optional<int> exit_code);
  void DoStop(int signal, int64_t timeout_ms, Done done);
  absl::Status DoDelete(bool force);
  void DoRecover();
  absl::Status Readopt(const base::ProcessIdentity& identity);
  void HelperEnded(const HelperProcess* helper);
  void TakeExit();
  void RemoveIfWanted();
  absl::Status Change(Event event);
  void Persist();

  void WatchHelper();
  void ArmKillTimer(std::chrono::milliseconds after);
  void DisarmKillTimer();
  void FinishWaiters(const absl::StatusOr<Exit>& result);
  std::optional<Exit> LastExit() const;
  bool RunsLocked() const;
  base::Bundle bundle() const { return base::Bundle{context_.paths.Bundle(id())}; }

  ContainerContext& context_;
  const model::ContainerConfiguration configuration_;
  SerialQueue queue_;

  mutable std::mutex mutex_;
  ContainerRow row_;  // what the database holds, or is about to
  std::shared_ptr<HelperProcess> helper_;
  std::shared_ptr<RuntimeClient> client_;
  RuntimeClient::Cancel cancel_start_;  // set while the first process is being started
  bool abort_start_ = false;            // somebody wants the start to fail
  bool removing_ = false;               // an auto-remove is to follow the present run
  EventLoop::Token kill_timer_ = 0;
  uint64_t next_waiter_ = 1;
  std::map<uint64_t, WaitDone> waiters_;
};

}  // namespace container::apiserver
