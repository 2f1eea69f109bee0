// One QEMU process and the sockets to it.
//
// Lifetime: the thread that spawns QEMU lives exactly as long as QEMU does, and QEMU has asked the
// kernel to be killed when that thread ends (PR_SET_PDEATHSIG). So QEMU never outlives this
// process, however it dies; and the thread, which watches QEMU's pidfd, knows QEMU's end at once.
// Nobody but the kernel is trusted about that end.
//
// Thread-safe. The destructor kills QEMU and waits until the kernel has taken it away.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "base/subprocess.h"
#include "plugins/runtime_linux/console_log.h"
#include "plugins/runtime_linux/qemu/qmp.h"
#include "plugins/runtime_linux/qemu/spec.h"

namespace container::runtime_linux {

class Vm {
 public:
  /// Starts QEMU as `spec` says (its qmp, agent and console descriptors are made here). `on_end` is
  /// called once, from the VM's thread and under no lock, when QEMU has ended; end() is known then.
  static absl::StatusOr<std::unique_ptr<Vm>> Launch(VmSpec spec, std::string console_log_path,
                                                    std::function<void()> on_end);
  ~Vm();

  pid_t pid() const { return pid_; }

  /// The host's end of the agent's port. To be taken once.
  base::Fd TakeAgent() { return std::move(agent_); }

  /// Returns when the guest has opened the agent's port: DEADLINE_EXCEEDED, or UNAVAILABLE if QEMU
  /// ended before.
  absl::Status WaitForAgent(std::chrono::milliseconds timeout);

  /// Nothing while QEMU runs.
  std::optional<base::ProcessEnd> end();
  /// False at the deadline.
  bool WaitForEnd(std::chrono::milliseconds timeout);

  /// Asks QEMU to end, whatever the guest does.
  absl::Status Quit(std::chrono::milliseconds timeout);
  /// SIGKILL.
  void Kill();

  std::string ConsoleTail();

 private:
  Vm(ConsoleLog console, std::function<void()> on_end)
      : on_end_(std::move(on_end)), console_log_(std::move(console)) {}
  void Run(const VmSpec& spec, base::Fd qemu_qmp, base::Fd qemu_agent, base::Fd qemu_console);
  void Watch(base::Subprocess& qemu);
  /// False at the end of the stream.
  bool ReadConsole();

  const std::function<void()> on_end_;
  std::unique_ptr<Qmp> qmp_;
  base::Fd agent_;
  base::Fd console_;
  base::Fd pidfd_;
  pid_t pid_ = -1;
  std::thread thread_;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<absl::Status> spawned_;
  bool agent_open_ = false;
  std::optional<base::ProcessEnd> end_;
  ConsoleLog console_log_;
};

}  // namespace container::runtime_linux
