// One run of one container: its VM, its processes, and its end.
//
// What the bundle says about a run, and what a reader may conclude, whenever anything is killed:
//   - The helper holds an exclusive flock(2) on <bundle>/helper.lock for as long as it lives, so
//   two
//     never run one bundle. The kernel lets go of it when the helper dies.
//   - A run begins by removing exit.json; then helper.json is written (this process's identity).
//   - A run ends by writing exit.json, once, before anyone is told. Nothing removes helper.json.
// So: lock held, no exit.json: it runs. Lock held, exit.json: it has ended and is tidying up. Lock
// free, exit.json: it ended so. Lock free, no exit.json, helper.json: the helper was killed before
// it could tell, and the VM with it.
//
// The state machine (all under mutex_):
//   BOOTING -> READY -> RUNNING -> STOPPING -> STOPPED, and from each to STOPPING.
// Run() does the last two steps, on its own thread: when the first process has ended, the boot has
// failed, the VM has died or somebody has called Stop. The public functions are thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "base/paths.h"
#include "model/container.h"
#include "plugins/runtime_linux/agent.h"
#include "plugins/runtime_linux/container_process.h"
#include "plugins/runtime_linux/process_log.h"
#include "plugins/runtime_linux/tsc.h"
#include "plugins/runtime_linux/vm.h"
#include "proto/runtime.pb.h"

namespace container::runtime_linux {

namespace v1 = ::container::runtime::v1;

class Container {
 public:
  using milliseconds = std::chrono::milliseconds;
  using Clock = std::chrono::steady_clock;

  struct Options {
    base::Bundle bundle;
    std::string socket;  // where the helper serves, for helper.json
    TscMeter tsc;
    bool debug = false;  // the kernel talks on the console
  };

  /// Locks the bundle and reads its configuration. UNAVAILABLE if another helper runs it.
  static absl::StatusOr<std::unique_ptr<Container>> Open(Options options);
  ~Container();

  /// Launches the VM, opens a new run in the bundle, and returns while the guest boots. A VM that
  /// can't be launched is a run that has ended: Run() records it.
  absl::Status Boot();

  /// Returns when the VM has ended, exit.json is written, and whoever is likely to ask for it has
  /// been told.
  void Run();

  /// What Stop does, without waiting. Async-signal-unsafe: call it from a thread.
  void RequestStop(int signal, milliseconds timeout);

  // The calls of proto/runtime.proto.
  v1::GetStateResponse GetState();
  absl::StatusOr<v1::StartProcessResponse> StartProcess(const v1::StartProcessRequest& request);
  absl::StatusOr<common::v1::ExitStatus> WaitProcess(const std::string& process_id);
  absl::Status SignalProcess(const std::string& process_id, int signal);
  absl::Status ResizeTerminal(const std::string& process_id, uint32_t rows, uint32_t columns);
  absl::StatusOr<common::v1::ExitStatus> Stop(int signal, milliseconds timeout);

 private:
  Container(Options options, base::Fd lock, model::ContainerConfiguration configuration,
            model::RuntimeConfiguration runtime, ProcessLog log)
      : options_(std::move(options)),
        lock_(std::move(lock)),
        configuration_(std::move(configuration)),
        runtime_(std::move(runtime)),
        log_(std::move(log)) {}

  const std::string& id() const { return configuration_.id; }
  absl::Status LaunchVm();
  absl::Status WriteHelperRecord(const std::string& started_date);
  void TalkToGuest();
  absl::Status GreetGuest();

  absl::StatusOr<guest::ProcessSpec> SpecOf(const v1::StartProcessRequest& request, bool first);
  /// Waits until processes can be started in the guest.
  absl::Status WaitForGuest();
  absl::Status StartFailure(absl::Status status);
  void OnFirstProcessEnd();

  bool Ending() const { return exit_.has_value() || vm_ended_ || failed_; }
  void StopFirstProcess(std::unique_lock<std::mutex>& lock);
  void EndVm();
  void RecordExit(int exit_code, int64_t finished_ns, const std::string& error);
  common::v1::ExitStatus ExitStatusLocked() const;

  const Options options_;
  const base::Fd lock_;
  const model::ContainerConfiguration configuration_;
  const model::RuntimeConfiguration runtime_;
  ProcessLog log_;
  std::unique_ptr<Vm> vm_;        // set by Boot
  std::unique_ptr<Agent> agent_;  // set by Boot
  std::thread boot_thread_;

  std::mutex record_mutex_;  // held while exit.json is written

  std::mutex mutex_;
  std::condition_variable changed_;
  v1::GetStateResponse::Phase phase_ = v1::GetStateResponse::BOOTING;
  bool guest_up_ = false;    // the calls that make the container are out
  bool agent_dead_ = false;  // it let a deadline pass
  bool vm_ended_ = false;
  bool failed_ = false;  // the boot, or the first process's call
  std::string error_;    // why
  std::string kernel_release_;
  std::optional<model::ExitRecord> exit_;
  bool told_ = false;  // somebody has had the exit status, or the failure
  bool stop_requested_ = false;
  std::vector<int> stop_signals_;  // not sent yet
  Clock::time_point stop_deadline_ = Clock::time_point::max();
  bool first_requested_ = false;
  std::shared_ptr<ContainerProcess> first_;
  // Null while it is being started.
  std::map<std::string, std::shared_ptr<ContainerProcess>> further_;
};

}  // namespace container::runtime_linux
