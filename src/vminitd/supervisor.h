// What runs in the guest: containers, their processes, and the end of it all. Owned by the event
// loop's thread; every function is called on it.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fd.h"
#include "proto/vminitd.pb.h"
#include "vminitd/container.h"
#include "vminitd/event_loop.h"
#include "vminitd/process.h"

namespace container::vminitd {

class Supervisor {
 public:
  using Done = std::function<void(absl::Status)>;

  /// Reaps from now on; SIGCHLD must be blocked in every thread.
  static absl::StatusOr<std::unique_ptr<Supervisor>> Create(EventLoop* loop);

  EventLoop& loop() { return *loop_; }

  /// Takes a container whose root is being mounted already, for the first CreateContainer that
  /// asks for its disks.
  void Adopt(std::unique_ptr<Container> prepared) { prepared_ = std::move(prepared); }

  void CreateContainer(const v1::CreateContainerRequest& request, Done done);

  /// A process for a call. It stays until Drop.
  Process* AddProcess(ProcessStream* stream);
  void Drop(Process* process);

  absl::Status Signal(const v1::SignalProcessRequest& request);
  absl::Status Resize(const v1::ResizeTerminalRequest& request);

  /// Kills everything, unmounts, syncs and ends the VM.
  void PowerOff();

 private:
  struct ContainerEntry {
    std::unique_ptr<Container> container;
    bool first_requested = false;  // its first process was asked for
  };

  explicit Supervisor(EventLoop* loop) : loop_(loop) {}
  void Start(Process& process);
  void StartIn(ContainerEntry& entry, Process& process);
  void OnSpawned(Process& process);
  void Reap();
  absl::StatusOr<Process*> FindProcess(const std::string& container_id,
                                       const std::string& process_id);
  void EndVm();

  EventLoop* const loop_;
  base::Fd child_signal_;
  std::unique_ptr<Container> prepared_;
  std::map<std::string, ContainerEntry> containers_;
  std::map<Process*, std::unique_ptr<Process>> processes_;
  std::vector<Process*> parked_;  // their container is not known yet
  // Of what was made and not yet reaped; null if its call is over.
  std::unordered_map<pid_t, Process*> children_;
  // Reaped before the container's thread told of them.
  std::unordered_map<pid_t, int> early_exits_;
  bool powering_off_ = false;
};

}  // namespace container::vminitd
