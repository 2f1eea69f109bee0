#include "plugins/runtime_linux/probe.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plugins/runtime_linux/agent.h"
#include "plugins/runtime_linux/vm.h"

namespace container::runtime_linux {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr size_t kMaxReasonBytes = 200;

absl::StatusOr<std::string> BootAndGreet(Vm& vm, Clock::time_point deadline) {
  auto left = [&] {
    return std::max(milliseconds(1), std::chrono::ceil<milliseconds>(deadline - Clock::now()));
  };
  RETURN_IF_ERROR(vm.WaitForAgent(left()));
  ASSIGN_OR_RETURN(std::unique_ptr<Agent> agent, Agent::Connect(vm.TakeAgent()));
  ASSIGN_OR_RETURN(guest::HelloResponse hello, agent->Begin(nullptr, nullptr, left()));
  return hello.kernel_release();
}

}  // namespace

absl::StatusOr<std::string> Probe(const ProbeOptions& options) {
  const Clock::time_point deadline = Clock::now() + options.timeout;
  VmSpec spec;
  spec.program = options.qemu_program;
  spec.name = "probe";
  spec.accelerator = options.accelerator;
  spec.kernel_path = options.kernel_path;
  spec.initramfs_path = options.initramfs_path;
  spec.command_line =
      KernelCommandLine(spec.accelerator, options.tsc.FrequencyKhz(), /*debug=*/false);
  ASSIGN_OR_RETURN(std::unique_ptr<Vm> vm, Vm::Launch(std::move(spec), "", nullptr));
  absl::StatusOr<std::string> release = BootAndGreet(*vm, deadline);
  std::string tail = vm->ConsoleTail();
  vm.reset();
  if (release.ok() || tail.empty()) return release;
  // One line: the first is where QEMU names the trouble, a dump of registers may follow.
  tail = tail.substr(0, std::min(tail.find('\n'), kMaxReasonBytes));
  return absl::Status(release.status().code(),
                      absl::StrCat(release.status().message(), " (", tail, ")"));
}

}  // namespace container::runtime_linux
