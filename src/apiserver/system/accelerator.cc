#include "apiserver/system/accelerator.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace container::apiserver {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostVerdicts = 16;

Json ReadCache(const std::string& path) {
  auto text = base::ReadFile(path, 1 << 20);
  if (text.ok()) {
    Json json = Json::parse(*text, nullptr, false);
    if (json.is_array()) return json;
  }
  return Json::array();
}

std::string FileKey(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return path;
  return absl::StrCat(path, ":", info.st_size, ":", info.st_mtim.tv_sec, ".", info.st_mtim.tv_nsec);
}

std::string HostBootId() {
  auto text = base::ReadFile("/proc/sys/kernel/random/boot_id", 256);
  return text.ok() ? std::string(absl::StripSuffix(*text, "\n")) : "";
}

}  // namespace

absl::StatusOr<AcceleratorVerdict> VerdictCache::Find(const std::string& key) const {
  for (const Json& item : ReadCache(path_)) {
    try {
      if (item.at("key") == key)
        return AcceleratorVerdict{item.at("accelerator"), item.at("reason")};
    } catch (const Json::exception&) {
      continue;  // Not ours to read.
    }
  }
  return absl::NotFoundError("no verdict");
}

absl::Status VerdictCache::Put(const std::string& key, const AcceleratorVerdict& verdict) const {
  Json list = Json::array();
  list.push_back({{"key", key}, {"accelerator", verdict.accelerator}, {"reason", verdict.reason}});
  for (const Json& item : ReadCache(path_)) {
    if (list.size() >= kMostVerdicts) break;
    if (item.is_object() && item.contains("key") && item["key"] != key) list.push_back(item);
  }
  return base::WriteFileAtomically(path_, list.dump(2) + "\n");
}

std::string VerdictKey(const std::string& kernel, const std::string& initramfs,
                       absl::string_view qemu_version, absl::string_view boot_id) {
  return absl::StrCat(FileKey(kernel), "|", FileKey(initramfs), "|", qemu_version, "|", boot_id);
}

Accelerator::Accelerator(std::string wish, std::string cache_file, Probe probe,
                         std::string kvm_device)
    : wish_(std::move(wish)),
      cache_(std::move(cache_file)),
      probe_(std::move(probe)),
      kvm_device_(std::move(kvm_device)) {}

AcceleratorVerdict Accelerator::Find(const Inputs& inputs) const {
  if (wish_ == "tcg") return {"tcg", "Emulation is forced by [vm] accelerator in config.toml."};
  base::Fd device(::open(kvm_device_.c_str(), O_RDWR | O_CLOEXEC));
  if (!device) {
    const char* what_to_do = errno == EACCES
                                 ? ": add yourself to the group kvm to run VMs at full speed."
                                 : ": VMs are emulated, which is slow.";
    return {"tcg",
            absl::StrCat(kvm_device_, " can't be opened (", std::strerror(errno), ")", what_to_do)};
  }
  const std::string key =
      VerdictKey(inputs.kernel, inputs.initramfs, inputs.qemu_version, HostBootId());
  if (auto known = cache_.Find(key); known.ok()) return *known;
  const absl::Status probed = probe_(inputs);
  AcceleratorVerdict verdict{"kvm", "The kernel boots under KVM."};
  if (!probed.ok()) {
    verdict = {"tcg", absl::StrCat("KVM is there but does not work on this host (",
                                   probed.message(), "): VMs are emulated, which is slow.")};
  }
  if (absl::Status put = cache_.Put(key, verdict); !put.ok()) {
    spdlog::warn("can't keep the accelerator's verdict error=\"{}\"", std::string(put.message()));
  }
  return verdict;
}

void Accelerator::Decide(const Inputs& inputs) {
  {
    std::lock_guard lock(mutex_);
    decided_ = false;
    verdict_ = {"", "The probe of KVM is under way."};
  }
  AcceleratorVerdict verdict = Find(inputs);
  if (wish_ == "kvm" && verdict.accelerator != "kvm") {
    verdict = {"",
               absl::StrCat("KVM is forced by [vm] accelerator in config.toml and can't be used: ",
                            verdict.reason)};
  }
  spdlog::info("accelerator={} reason=\"{}\"", verdict.accelerator, verdict.reason);
  std::lock_guard lock(mutex_);
  verdict_ = std::move(verdict);
  decided_ = true;
  changed_.notify_all();
}

void Accelerator::Defer(const std::string& reason) {
  std::lock_guard lock(mutex_);
  verdict_ = {"", reason};
  decided_ = true;
  changed_.notify_all();
}

absl::StatusOr<std::string> Accelerator::Get(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_for(lock, timeout, [this] { return decided_; })) {
    return absl::DeadlineExceededError(
        "the probe of KVM does not end; see 'container system logs'");
  }
  if (verdict_.accelerator.empty()) return absl::FailedPreconditionError(verdict_.reason);
  return verdict_.accelerator;
}

AcceleratorVerdict Accelerator::Now() const {
  std::lock_guard lock(mutex_);
  return verdict_;
}

}  // namespace container::apiserver
