// What a VM that starts now is made of: kernel, initramfs, QEMU, accelerator; each with a clear
// error where it is missing.
//
// Asking QEMU for its version and probing KVM runs in the background from start-up;
// RuntimeConfiguration() waits for it. Thread-safe but for Prepare.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "apiserver/concurrency/task_pool.h"
#include "apiserver/system/accelerator.h"
#include "apiserver/system/kernels.h"
#include "base/paths.h"
#include "model/container.h"
#include "model/system_config.h"

namespace container::apiserver {

class VirtualMachines {
 public:
  VirtualMachines(base::Paths paths, const model::SystemConfig& config, TaskPool& pool);

  /// Installs the recommended kernel, if wanted and needed, and begins the background work. First.
  void Prepare(bool install_kernel);
  /// The default kernel has changed.
  void KernelChanged();

  /// FAILED_PRECONDITION without a kernel, an initramfs, QEMU, or a forced KVM.
  absl::StatusOr<model::RuntimeConfiguration> RuntimeConfiguration();

  Kernels& kernels() { return kernels_; }

  struct Info {
    std::string accelerator;
    std::string accelerator_reason;
    std::string qemu_version;
    std::string kernel_path;
    std::string kernel_version;
    std::vector<std::string> warnings;
  };
  Info info();

 private:
  void InstallKernel();
  void Decide();
  absl::StatusOr<std::string> QemuVersion(const std::string& program);

  const base::Paths paths_;
  Kernels kernels_;
  Accelerator accelerator_;
  SerialQueue queue_;
  bool install_kernel_ = false;
  std::mutex mutex_;
  // Remembered by what they were found for.
  std::string qemu_key_;
  std::string qemu_version_;
  std::string kernel_key_;
  std::string kernel_version_;
};

}  // namespace container::apiserver
