// Whether VMs run under KVM or are emulated (TCG).
//
// That /dev/kvm opens says little: on some hosts VMs are made and never reach user space. So the
// real kernel is booted under KVM, with a deadline, by the runtime helper's `probe`; the verdict is
// kept in the app root by kernel, initramfs, QEMU and boot of the host. [vm] accelerator forces
// either.
//
// The probe runs in the background from start-up, and Get() waits for it. Thread-safe.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::apiserver {

struct AcceleratorVerdict {
  std::string accelerator;  // "kvm" or "tcg"; "" : KVM is forced and does not work
  std::string reason;       // a sentence
  friend bool operator==(const AcceleratorVerdict&, const AcceleratorVerdict&) = default;
};

/// Verdicts of KVM probes by key, in a file. What can't be read counts as empty: it is a cache.
class VerdictCache {
 public:
  explicit VerdictCache(std::string path) : path_(std::move(path)) {}
  absl::StatusOr<AcceleratorVerdict> Find(const std::string& key) const;  // or NOT_FOUND
  /// Keeps the newest few.
  absl::Status Put(const std::string& key, const AcceleratorVerdict& verdict) const;

 private:
  const std::string path_;
};

/// What a verdict depends on. Files count by path, size and time of change.
std::string VerdictKey(const std::string& kernel, const std::string& initramfs,
                       absl::string_view qemu_version, absl::string_view boot_id);

class Accelerator {
 public:
  struct Inputs {
    std::string kernel;
    std::string initramfs;
    std::string qemu_program;
    std::string qemu_version;
  };
  /// Boots the kernel under KVM: OK, or why it does not work.
  using Probe = std::function<absl::Status(const Inputs&)>;

  /// `wish`: "auto", "kvm" or "tcg". `kvm_device` is /dev/kvm but in tests.
  Accelerator(std::string wish, std::string cache_file, Probe probe,
              std::string kvm_device = "/dev/kvm");

  /// Finds the verdict; blocks for as long as the probe does. Again when the kernel changes.
  void Decide(const Inputs& inputs);
  /// The verdict can't be found, for want of a kernel or QEMU: Get() says so instead of waiting.
  void Defer(const std::string& reason);

  /// The verdict; waits for one that is being found. FAILED_PRECONDITION if KVM is forced and does
  /// not work.
  absl::StatusOr<std::string> Get(std::chrono::milliseconds timeout);
  /// As it is now; `accelerator` is empty while it is being found.
  AcceleratorVerdict Now() const;

 private:
  AcceleratorVerdict Find(const Inputs& inputs) const;

  const std::string wish_;
  const VerdictCache cache_;
  const Probe probe_;
  const std::string kvm_device_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool decided_ = false;
  AcceleratorVerdict verdict_{"", "The probe of KVM is under way."};
};

}  // namespace container::apiserver
