#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/paths.h"
#include "base/status.h"
#include "base/units.h"
#include "base/version.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/print.h"
#include "cli/output/progress.h"
#include "cli/output/table.h"
#include "model/system_config.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

constexpr int64_t kLittleFreeBytes = int64_t{1} << 30;
constexpr int64_t kTooLittleFreeBytes = int64_t{128} << 20;
constexpr uint64_t kFewFreeInodes = 10'000;

struct Finding {
  std::string result;  // "ok", "warning", "error"
  std::string check;
  std::string message;
  std::vector<std::string> images;
};

class Doctor {
 public:
  explicit Doctor(bool debug) : debug_(debug) {}

  std::vector<Finding> Examine(const Client::OnProgress& on_progress) {
    CheckConfiguration();
    absl::StatusOr<base::Paths> paths = base::Paths::FromEnvironment();
    if (!paths.ok()) {
      Add("error", "paths", std::string(paths.status().message()));
      return std::move(findings_);
    }
    CheckRuntimeFolder(*paths);
    const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(debug_);
    const absl::StatusOr<SystemStatus> status =
        client.ok() ? (*client)->GetStatus() : client.status();
    if (!status.ok()) {
      Add("error", "services", std::string(status.status().message()));
      CheckDisk(paths->app_root());
      return std::move(findings_);
    }
    CheckServices(*status);
    CheckMachine(*status);
    CheckDisk(status->app_root);
    CheckLeftovers(**client);
    CheckStore(**client, on_progress);
    return std::move(findings_);
  }

 private:
  void Add(const std::string& result, const std::string& check, const std::string& message) {
    findings_.push_back({result, check, message, {}});
  }

  void CheckConfiguration() {
    const auto config = model::SystemConfig::Load();
    Add(config.ok() ? "ok" : "error", "configuration",
        config.ok() ? std::string("config.toml is fine, or there is none")
                    : std::string(config.status().message()));
  }

  void CheckRuntimeFolder(const base::Paths& paths) {
    const std::string& folder = paths.runtime_dir();
    constexpr size_t kLimit = sizeof(sockaddr_un{}.sun_path) - 1;
    const size_t longest = paths.RuntimeSocket("x").size();
    struct stat info;
    const bool exists = ::lstat(folder.c_str(), &info) == 0;
    if (longest > kLimit) {
      Add("error", "runtime folder",
          absl::StrCat(folder, " is too long for sockets (", longest, " of ", kLimit,
                       " bytes): set XDG_RUNTIME_DIR to a shorter path"));
    } else if (exists && (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid() ||
                          (info.st_mode & 077) != 0)) {
      Add("error", "runtime folder",
          absl::StrCat(folder, " is open to others: chmod 0700 and chown it to yourself"));
    } else {
      Add("ok", "runtime folder",
          absl::StrCat(folder, " (", longest, " of ", kLimit, " bytes of a socket's path)"));
    }
  }

  void CheckServices(const SystemStatus& status) {
    const std::string own(base::kVersion);
    if (status.version == own) {
      Add("ok", "services", absl::StrCat("version ", own, " runs, pid ", status.pid));
    } else {
      Add("warning", "services",
          absl::StrCat("version ", status.version, " runs, this is ", own,
                       ": container system stop, then start"));
    }
    for (const HelperStatus& helper : status.helpers) {
      if (helper.state == "running") continue;
      Add("warning", "services", absl::StrCat(helper.name, " is ", helper.state));
    }
    for (const std::string& warning : status.warnings) Add("warning", "services", warning);
  }

  void CheckMachine(const SystemStatus& status) {
    if (status.kernel_path.empty()) {
      Add("error", "kernel",
          "none is installed: container system kernel set --recommended, or --binary PATH");
    } else if (::access(status.kernel_path.c_str(), R_OK) != 0) {
      Add("error", "kernel", absl::StrCat(status.kernel_path, " can't be read: install it again"));
    } else {
      Add("ok", "kernel", absl::StrCat(status.kernel_version, " (", status.kernel_path, ")"));
    }
    const std::string initramfs = status.install_root + "/share/container/initramfs.cpio";
    if (::access(initramfs.c_str(), R_OK) != 0) {
      Add("error", "initramfs", absl::StrCat(initramfs, " can't be read: install again"));
    }
    if (status.qemu_version.empty()) {
      Add("error", "qemu", "qemu-system-x86_64 does not run: install it (qemu-system-x86)");
    } else {
      Add("ok", "qemu", status.qemu_version);
    }
    const std::string reason =
        status.accelerator_reason.empty() ? "" : absl::StrCat(": ", status.accelerator_reason);
    if (status.accelerator == "kvm") {
      Add("ok", "accelerator", absl::StrCat("kvm", reason));
    } else {
      Add("warning", "accelerator",
          absl::StrCat(status.accelerator.empty() ? "not known yet" : status.accelerator, reason));
    }
  }

  void CheckDisk(const std::string& app_root) {
    struct statvfs info;
    if (::statvfs(app_root.c_str(), &info) != 0) return;  // nothing is there yet
    const int64_t free_bytes =
        static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
    const std::string text = absl::StrCat(base::FormatSize(free_bytes), " free at ", app_root);
    const char* hint = ": container system prune -a gives some back";
    if (free_bytes < kTooLittleFreeBytes) {
      Add("error", "disk", absl::StrCat(text, hint));
    } else if (free_bytes < kLittleFreeBytes) {
      Add("warning", "disk", absl::StrCat(text, hint));
    } else if (info.f_files > 0 && info.f_favail < kFewFreeInodes) {
      Add("warning", "disk", absl::StrCat("only ", info.f_favail, " inodes free at ", app_root));
    } else {
      Add("ok", "disk", text);
    }
  }

  void CheckLeftovers(Client& client) {
    const absl::StatusOr<ImageUsage> usage = client.GetImageUsage(PruneOptions());
    if (!usage.ok()) {
      Add("error", "leftovers", std::string(usage.status().message()));
    } else if (usage->leftover_bytes > 0) {
      Add("warning", "leftovers",
          absl::StrCat(base::FormatSize(usage->leftover_bytes),
                       " of interrupted downloads and damaged content: the next pull goes on with "
                       "them, and container image prune deletes them"));
    } else {
      Add("ok", "leftovers", "none");
    }
  }

  void CheckStore(Client& client, const Client::OnProgress& on_progress) {
    const absl::StatusOr<StoreVerification> store = client.VerifyImages(on_progress);
    if (!store.ok()) {
      Add("error", "store", std::string(store.status().message()));
      return;
    }
    bool has_error = false;
    for (const StoreFault& fault : store->faults) {
      has_error = has_error || fault.is_error;
      findings_.push_back(
          {fault.is_error ? "error" : "warning", "store", fault.message, fault.images});
    }
    const std::string text = absl::StrCat(
        store->blobs, " blobs (", base::FormatSize(store->blob_bytes), "), ", store->roots,
        " root file systems and those of ", store->containers, " containers were checked");
    Add("ok", "store", has_error ? text : absl::StrCat(text, ", none is damaged"));
  }

  const bool debug_;
  std::vector<Finding> findings_;
};

}  // namespace

int SystemDoctor(Invocation& call) {
  Format format = Format::kTable;
  ProgressMode mode = ProgressMode::kNone;
  if (const auto automatic = ParseProgressMode("auto"); automatic.ok()) mode = *automatic;
  OptionParser parser(call,
                      "Looks whether all is well: the services, the kernel, QEMU, the disk, and "
                      "every blob and root file system of the image store, which it hashes. "
                      "Damaged content is set aside, so that the next pull repairs it. Exit code 1 "
                      "if anything is an error.");
  parser.Value(
      "--format", "table|json|yaml|toml",
      [&format](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(format, ParseFormat(value));
        return absl::OkStatus();
      },
      "How to print it");
  parser.Value(
      "--progress", kProgressModes,
      [&mode](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(mode, ParseProgressMode(value));
        return absl::OkStatus();
      },
      "How to show progress");
  parser.Example("container system doctor", "For people");
  parser.Example("container system doctor --format json | jq '.[] | select(.result == \"error\")'",
                 "Only the errors, for a script");
  if (std::optional<int> done = parser.Parse()) return *done;

  Progress progress(mode);
  const std::vector<Finding> findings =
      Doctor(call.debug).Examine([&](const ProgressEvent& event) { progress.Update(event); });
  progress.Finish();
  bool has_error = false;
  Table table({"RESULT", "CHECK", "MESSAGE"});
  nlohmann::ordered_json array = nlohmann::ordered_json::array();
  for (const Finding& finding : findings) {
    has_error = has_error || finding.result == "error";
    table.Add({finding.result, finding.check, finding.message});
    array.push_back({{"result", finding.result},
                     {"check", finding.check},
                     {"message", finding.message},
                     {"images", finding.images}});
  }
  Print(format == Format::kTable ? table.Render() : FormatAs(format, array, "findings"));
  return has_error ? kFailure : kSuccess;
}

}  // namespace container::cli
