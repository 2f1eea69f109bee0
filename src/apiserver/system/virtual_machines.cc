#include "apiserver/system/virtual_machines.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "apiserver/plugins/plugin.h"
#include "apiserver/system/kernel_file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/subprocess.h"

namespace container::apiserver {
namespace {

using std::chrono::milliseconds;

constexpr char kQemu[] = "qemu-system-x86_64";
constexpr milliseconds kProbeDeadline(4000);
constexpr milliseconds kDecisionTimeout(30000);
constexpr char kNoKernel[] =
    "no guest kernel is installed: run 'container system kernel set --recommended', or build one "
    "with "
    "'make kernel'";
constexpr char kNoQemu[] =
    "qemu-system-x86_64 is not installed, and every container runs in a VM: install the package "
    "qemu-system-x86";

/// Looked up for every VM: it may be installed while the apiserver runs.
absl::StatusOr<std::string> FindQemu() {
  const char* path = std::getenv("PATH");
  for (absl::string_view folder : absl::StrSplit(path != nullptr ? path : "/usr/bin:/bin", ':')) {
    if (folder.empty()) continue;
    std::string program = absl::StrCat(folder, "/", kQemu);
    if (::access(program.c_str(), X_OK) == 0) return program;
  }
  return absl::FailedPreconditionError(kNoQemu);
}

std::string StampOf(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return "";
  return absl::StrCat(path, ":", info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

absl::Status RunProbe(const base::Paths& paths, const Accelerator::Inputs& inputs) {
  ASSIGN_OR_RETURN(Plugin plugin, LoadPlugin(paths, "container-runtime-linux"));
  base::SubprocessSpec spec;
  spec.program = plugin.program;
  spec.arguments = {"probe",
                    "--kernel",
                    inputs.kernel,
                    "--initramfs",
                    inputs.initramfs,
                    "--qemu",
                    inputs.qemu_program,
                    "--accelerator",
                    "kvm",
                    "--timeout-ms",
                    absl::StrCat(kProbeDeadline.count())};
  ASSIGN_OR_RETURN(base::CommandResult result,
                   base::RunCommand(spec, kProbeDeadline + milliseconds(6000)));
  if (result.end.ShellStatus() == 0) return absl::OkStatus();
  std::string why(absl::StripTrailingAsciiWhitespace(result.standard_output));
  if (why.empty()) why = std::string(absl::StripTrailingAsciiWhitespace(result.standard_error));
  return absl::UnavailableError(why.empty() ? result.end.ToString() : why);
}

}  // namespace

VirtualMachines::VirtualMachines(base::Paths paths, const model::SystemConfig& config,
                                 TaskPool& pool)
    : paths_(paths),
      kernels_(paths, config),
      accelerator_(config.vm_accelerator, paths.AcceleratorVerdicts(),
                   [paths](const Accelerator::Inputs& inputs) { return RunProbe(paths, inputs); }),
      queue_(pool) {}

void VirtualMachines::Prepare(bool install_kernel) {
  install_kernel_ = install_kernel;
  InstallKernel();
  queue_.Post([this] { Decide(); });
}

void VirtualMachines::InstallKernel() {
  if (!install_kernel_) return;
  if (absl::Status installed = kernels_.InstallRecommendedIfNeeded(); !installed.ok()) {
    spdlog::warn("no kernel was installed reason=\"{}\"", std::string(installed.message()));
  }
}

void VirtualMachines::KernelChanged() {
  queue_.Post([this] { Decide(); });
}

void VirtualMachines::Decide() {
  const std::string kernel = kernels_.DefaultPath();
  auto qemu = FindQemu();
  if (kernel.empty() || !qemu.ok()) {
    accelerator_.Defer("The accelerator is chosen when there are a kernel and QEMU.");
    return;
  }
  auto version = QemuVersion(*qemu);
  accelerator_.Decide({kernel, paths_.Initramfs(), *qemu, version.value_or("")});
}

absl::StatusOr<std::string> VirtualMachines::QemuVersion(const std::string& program) {
  const std::string key = StampOf(program);
  {
    std::lock_guard lock(mutex_);
    if (key == qemu_key_) return qemu_version_;
  }
  base::SubprocessSpec spec;
  spec.program = program;
  spec.arguments = {"--version"};
  ASSIGN_OR_RETURN(base::CommandResult result, base::RunCommand(spec, milliseconds(10000)));
  // "QEMU emulator version 7.2.15 (Debian 1:7.2+dfsg-7+deb12u12)"
  absl::string_view line = absl::string_view(result.standard_output);
  line = line.substr(0, line.find('\n'));
  absl::ConsumePrefix(&line, "QEMU emulator version ");
  std::lock_guard lock(mutex_);
  qemu_key_ = key;
  qemu_version_ = std::string(line);
  return qemu_version_;
}

absl::StatusOr<model::RuntimeConfiguration> VirtualMachines::RuntimeConfiguration() {
  model::RuntimeConfiguration runtime;
  ASSIGN_OR_RETURN(runtime.qemu_program, FindQemu());
  runtime.kernel_path = kernels_.DefaultPath();
  if (runtime.kernel_path.empty()) {
    // What kept it from being installed at start-up, such as a full disk, may be over.
    InstallKernel();
    runtime.kernel_path = kernels_.DefaultPath();
  }
  if (runtime.kernel_path.empty()) return absl::FailedPreconditionError(kNoKernel);
  auto accelerator = accelerator_.Get(kDecisionTimeout);
  if (absl::IsFailedPrecondition(accelerator.status())) {
    // Deferred for want of something that is there by now.
    Decide();
    accelerator = accelerator_.Get(kDecisionTimeout);
  }
  RETURN_IF_ERROR(accelerator.status());
  runtime.accelerator = *accelerator;
  runtime.initramfs_path = paths_.Initramfs();
  if (::access(runtime.initramfs_path.c_str(), R_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("the guest's initramfs is missing from ",
                                                      runtime.initramfs_path,
                                                      ": install container again"));
  }
  return runtime;
}

VirtualMachines::Info VirtualMachines::info() {
  Info info;
  const AcceleratorVerdict verdict = accelerator_.Now();
  info.accelerator = verdict.accelerator;
  info.accelerator_reason = verdict.reason;
  if (auto qemu = FindQemu(); qemu.ok()) {
    auto version = QemuVersion(*qemu);
    info.qemu_version = version.value_or("");
    if (!version.ok()) {
      info.warnings.push_back(absl::StrCat("QEMU does not run: ", version.status().message(), "."));
    }
  } else {
    info.warnings.push_back(absl::StrCat("There is no QEMU: ", qemu.status().message(), "."));
  }
  info.kernel_path = kernels_.DefaultPath();
  if (info.kernel_path.empty()) {
    info.warnings.push_back(absl::StrCat("There is no kernel: ", kNoKernel, "."));
    return info;
  }
  const std::string key = StampOf(info.kernel_path);
  std::unique_lock lock(mutex_);
  if (key != kernel_key_) {
    auto kernel = InspectKernel(info.kernel_path);
    kernel_version_ = kernel.ok() ? kernel->release : "";
    kernel_key_ = key;
    if (!kernel.ok()) {
      info.warnings.push_back(
          absl::StrCat("The kernel can't be used: ", kernel.status().message(), "."));
    }
  }
  info.kernel_version = kernel_version_;
  return info;
}

}  // namespace container::apiserver
