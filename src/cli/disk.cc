#include "cli/disk.h"

#include <sys/stat.h>

#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "base/paths.h"
#include "base/status.h"
#include "model/container.h"

namespace container::cli {
namespace {

namespace fs = std::filesystem;

constexpr char kStopped[] = "stopped";

/// Sums up files, each once however many names it has.
class Counter {
 public:
  /// What the file adds; 0 if it is not there or was counted before.
  int64_t Add(const std::string& path) {
    struct stat info;
    if (::lstat(path.c_str(), &info) != 0 || S_ISDIR(info.st_mode)) return 0;
    if (!seen_.emplace(info.st_dev, info.st_ino).second) return 0;
    return static_cast<int64_t>(info.st_blocks) * 512;
  }

  /// Of all files in a folder and below.
  int64_t AddTree(const std::string& folder, int64_t* count = nullptr) {
    int64_t bytes = 0;
    // Whatever goes while we look has gone.
    std::error_code ignored;
    for (fs::recursive_directory_iterator at(folder, ignored), end; !ignored && at != end;
         at.increment(ignored)) {
      if (at->is_directory(ignored)) continue;
      bytes += Add(at->path());
      if (count != nullptr) ++*count;
    }
    return bytes;
  }

 private:
  std::set<std::pair<dev_t, ino_t>> seen_;
};

absl::StatusOr<std::vector<model::ContainerObject>> ListContainers(Client& client) {
  ASSIGN_OR_RETURN(const std::vector<std::string> texts, client.List(/*all=*/true));
  std::vector<model::ContainerObject> containers;
  for (const std::string& text : texts) {
    ASSIGN_OR_RETURN(model::ContainerObject container, model::ParseContainerObject(text));
    containers.push_back(std::move(container));
  }
  return containers;
}

/// What the disk gains when a bundle is deleted.
int64_t BytesFreedWith(const std::string& folder) {
  int64_t bytes = 0;
  std::error_code ignored;
  for (const auto& entry : fs::recursive_directory_iterator(folder, ignored)) {
    struct stat info;
    if (::lstat(entry.path().c_str(), &info) != 0 || info.st_nlink != 1) continue;
    bytes += static_cast<int64_t>(info.st_blocks) * 512;
  }
  return bytes;
}

absl::StatusOr<base::Paths> PathsOf(Client& client) {
  ASSIGN_OR_RETURN(const SystemStatus status, client.GetStatus());
  ASSIGN_OR_RETURN(const base::Paths paths, base::Paths::FromEnvironment());
  return paths.WithRoots(status.app_root, status.install_root, status.log_root);
}

}  // namespace

absl::Status FindImagesInUse(Client& client, PruneOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<model::ContainerObject> containers, ListContainers(client));
  for (const model::ContainerObject& container : containers) {
    // Rather delete nothing than what is in use.
    if (container.configuration.image_reference.empty()) {
      return absl::InternalError("container-apiserver sent a container without an image");
    }
    options.in_use_references.push_back(container.configuration.image_reference);
    options.in_use_digests.push_back(container.configuration.image_descriptor.digest);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<UsageRow>> MeasureDisk(Client& client) {
  ASSIGN_OR_RETURN(const base::Paths paths, PathsOf(client));
  ASSIGN_OR_RETURN(const std::vector<model::ContainerObject> containers, ListContainers(client));
  PruneOptions in_use;
  RETURN_IF_ERROR(FindImagesInUse(client, in_use));
  ASSIGN_OR_RETURN(const ImageUsage usage, client.GetImageUsage(in_use));

  UsageRow images{"Images",         "images",
                  usage.images,     usage.images_in_use,
                  usage.blob_bytes, usage.reclaimable_blob_bytes};
  UsageRow roots{"Root file systems", "rootFilesystems", usage.roots,
                 usage.roots_in_use,  usage.root_bytes,  usage.reclaimable_root_bytes};
  UsageRow layers{"Containers", "containers"};
  UsageRow logs{"Logs", "logs"};
  UsageRow kernels{"Kernels", "kernels"};
  UsageRow blanks{"Blank layers", "blankLayers"};
  UsageRow leftovers{"Leftovers", "leftovers", 0, 0, usage.leftover_bytes, usage.leftover_bytes};

  Counter counter;
  counter.AddTree(paths.RootFilesystems());  // has been counted by the image helper
  for (const model::ContainerObject& container : containers) {
    const base::Bundle bundle{paths.Bundle(container.configuration.id)};
    const bool is_stopped = container.status.state == kStopped;
    // A root whose image was deleted, or of an older build.
    if (const int64_t bytes = counter.Add(bundle.RootFilesystem()); bytes > 0) {
      ++roots.total;
      ++roots.active;
      roots.size_bytes += bytes;
      if (is_stopped) roots.reclaimable_bytes += bytes;
    }
    int64_t log_files = 0;
    int64_t log_bytes = 0;
    for (const std::string& log : {bundle.Log(), bundle.ConsoleLog()}) {
      std::error_code ignored;
      if (fs::exists(log, ignored)) ++log_files;
      log_bytes += counter.Add(log);
    }
    logs.total += log_files;
    logs.size_bytes += log_bytes;
    const int64_t layer_bytes = counter.AddTree(bundle.path);
    ++layers.total;
    layers.size_bytes += layer_bytes;
    if (is_stopped) {
      logs.reclaimable_bytes += log_bytes;
      layers.reclaimable_bytes += layer_bytes;
    } else {
      logs.active += log_files;
      ++layers.active;
    }
  }
  int64_t service_logs = 0;
  logs.size_bytes += counter.AddTree(paths.log_root(), &service_logs);
  logs.total += service_logs;
  logs.active += service_logs;

  std::error_code ignored;
  const fs::path link = fs::path(paths.DefaultKernel()).filename();
  for (const auto& entry : fs::directory_iterator(paths.Kernels(), ignored)) {
    if (entry.path().filename() == link) continue;
    ++kernels.total;
    kernels.size_bytes += counter.Add(entry.path());
  }
  kernels.active = fs::exists(paths.DefaultKernel(), ignored) ? 1 : 0;
  blanks.size_bytes = counter.AddTree(paths.WritableTemplates(), &blanks.total);
  return std::vector<UsageRow>{images, roots, layers, logs, kernels, blanks, leftovers};
}

absl::StatusOr<PrunedContainers> PruneContainers(Client& client) {
  ASSIGN_OR_RETURN(const base::Paths paths, PathsOf(client));
  ASSIGN_OR_RETURN(const std::vector<model::ContainerObject> containers, ListContainers(client));
  PrunedContainers pruned;
  for (const model::ContainerObject& container : containers) {
    if (container.status.state != kStopped) continue;
    const std::string& id = container.configuration.id;
    const int64_t bytes = BytesFreedWith(paths.Bundle(id));
    const absl::Status status = client.Delete(id, /*force=*/false);
    // Deleted or started by somebody else, meanwhile.
    if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status)) continue;
    pruned.status.Update(status);
    if (!status.ok()) continue;
    pruned.ids.push_back(id);
    pruned.reclaimed_bytes += bytes;
  }
  return pruned;
}

}  // namespace container::cli
