#include "apiserver/containers/manager.h"

#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <filesystem>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/units.h"
#include "base/uuid.h"
#include "model/names.h"
#include "nlohmann/json.hpp"

namespace container::apiserver {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostGone = 1024;
constexpr std::chrono::minutes kGoneLife(10);

bool LooksLikeUuid(absl::string_view id) {
  return id.size() == 36 && id[8] == '-' && id[13] == '-' && id[18] == '-' && id[23] == '-';
}

/// Counts down tasks that run elsewhere.
class Latch {
 public:
  explicit Latch(size_t count) : count_(count) {}
  void CountDown() {
    std::lock_guard lock(mutex_);
    if (--count_ == 0) changed_.notify_all();
  }
  bool WaitFor(std::chrono::milliseconds timeout) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [this] { return count_ == 0; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t count_;
};

void ReadPlatform(absl::string_view text, model::Platform& platform) {
  const size_t first = text.find('/');
  platform.os = std::string(text.substr(0, first));
  if (first == absl::string_view::npos) return;
  text.remove_prefix(first + 1);
  const size_t second = text.find('/');
  platform.architecture = std::string(text.substr(0, second));
  if (second != absl::string_view::npos) platform.variant = std::string(text.substr(second + 1));
}

absl::StatusOr<model::Descriptor> ParseDescriptor(const std::string& text) {
  try {
    const auto json = nlohmann::json::parse(text);
    return model::Descriptor{json.value("mediaType", ""), json.value("digest", ""),
                             json.value("size", int64_t{0})};
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(
        absl::StrCat("the image's descriptor can't be read: ", error.what()));
  }
}

}  // namespace

ContainerManager::ContainerManager(Options options, TaskPool& pool, EventLoop& loop,
                                   StateStore& store)
    : options_(std::move(options)),
      pool_(pool),
      store_(store),
      bundles_(options_.paths),
      context_{pool,
               loop,
               store,
               bundles_,
               options_.paths,
               [this]() -> absl::StatusOr<model::RuntimeConfiguration> {
                 if (closing()) return absl::UnavailableError("the system is stopping");
                 return options_.runtime_configuration();
               },
               [this](const std::string& id, std::optional<Exit> exit) { Gone(id, exit); }} {}

bool ContainerManager::closing() const {
  std::lock_guard lock(mutex_);
  return closing_;
}

// --- Creating ---------------------------------------------------------------------------------

void ContainerManager::Create(const std::string& options_json, CreateDone done) {
  pool_.Post([this, options_json, done = std::move(done)] { done(DoCreate(options_json)); });
}

absl::StatusOr<std::string> ContainerManager::DoCreate(const std::string& options_json) {
  ASSIGN_OR_RETURN(model::CreateOptions options, model::CreateOptions::FromJson(options_json));
  RETURN_IF_ERROR(ValidateCreateOptions(options, options_.defaults));
  const std::string id = options.id.empty() ? base::NewUuid() : options.id;
  {
    std::lock_guard lock(mutex_);
    if (closing_) return absl::UnavailableError("the system is stopping");
    if (containers_.contains(id) || !creating_.insert(id).second) {
      return absl::AlreadyExistsError(absl::StrCat(
          "a container named ", id,
          " exists already: choose another name, or delete it with 'container delete ", id, "'"));
    }
  }
  absl::Cleanup release = [this, &id] {
    std::lock_guard lock(mutex_);
    creating_.erase(id);
  };
  RETURN_IF_ERROR(Build(id, options));
  return id;
}

absl::Status ContainerManager::Build(const std::string& id, const model::CreateOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(images::v1::Root root, options_.prepare_root(options.image, options.platform));
  const auto prepared = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(ImageConfig image, ParseImageConfig(root.config_json()));
  ASSIGN_OR_RETURN(model::ContainerConfiguration configuration,
                   MakeConfiguration(id, options, image, options_.defaults));
  configuration.image_reference = root.reference();
  ASSIGN_OR_RETURN(configuration.image_descriptor, ParseDescriptor(root.descriptor_json()));
  ReadPlatform(root.platform(), configuration.platform);
  configuration.creation_date = base::FormatTimestamp(std::chrono::system_clock::now());
  RETURN_IF_ERROR(bundles_.Make(configuration, root.path()));
  ContainerRow row;
  row.id = id;
  row.configuration_json = configuration.ToJson();
  row.state = *Next(State::kCreating, Event::kBundleMade);
  if (absl::Status put = store_.Put(row); !put.ok()) {
    if (auto removed = bundles_.Remove(id); removed.ok()) BundleMaker::Dispose(*removed);
    return put;
  }
  Add(std::move(configuration), row);
  const auto us = [](auto duration) {
    return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  };
  spdlog::info("created id={} image={} root_us={} bundle_us={}", id, root.reference(),
               us(prepared - begin), us(std::chrono::steady_clock::now() - prepared));
  return absl::OkStatus();
}

void ContainerManager::Add(model::ContainerConfiguration configuration, const ContainerRow& row) {
  auto container = std::make_shared<Container>(context_, std::move(configuration), row);
  std::lock_guard lock(mutex_);
  containers_[container->id()] = std::move(container);
}

void ContainerManager::Gone(const std::string& id, std::optional<Exit> exit) {
  const auto now = std::chrono::steady_clock::now();
  std::shared_ptr<Container> dropped;
  std::lock_guard lock(mutex_);
  if (auto found = containers_.find(id); found != containers_.end()) {
    dropped = std::move(found->second);
    containers_.erase(found);
  }
  std::erase_if(gone_,
                [&](const GoneExit& gone) { return gone.id == id || now - gone.when > kGoneLife; });
  if (exit.has_value()) gone_.push_back({id, *exit, now});
  if (gone_.size() > kMostGone) gone_.pop_front();
}

// --- Finding ----------------------------------------------------------------------------------

absl::StatusOr<std::shared_ptr<Container>> ContainerManager::Find(const std::string& name) const {
  if (name.empty()) return absl::InvalidArgumentError("no container is named");
  std::lock_guard lock(mutex_);
  if (auto found = containers_.find(name); found != containers_.end()) return found->second;
  std::shared_ptr<Container> match;
  for (auto item = containers_.lower_bound(name);
       item != containers_.end() && absl::StartsWith(item->first, name); ++item) {
    if (!LooksLikeUuid(item->first)) continue;
    if (match != nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat("several containers' ids begin with '", name, "': write more of it"));
    }
    match = item->second;
  }
  if (match != nullptr) return match;
  return absl::NotFoundError(absl::StrCat("there is no container '", name.substr(0, 80),
                                          "': 'container list --all' shows those that there are"));
}

std::optional<Exit> ContainerManager::ExitOfGone(const std::string& id) const {
  std::lock_guard lock(mutex_);
  for (auto gone = gone_.rbegin(); gone != gone_.rend(); ++gone) {
    if (gone->id == id) return gone->exit;
  }
  return std::nullopt;
}

std::vector<std::shared_ptr<Container>> ContainerManager::List(bool all) const {
  std::vector<std::shared_ptr<Container>> list;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [id, container] : containers_) list.push_back(container);
  }
  std::erase_if(list, [all](const auto& container) {
    const State state = container->state();
    return !all && state != State::kRunning && state != State::kStopping;
  });
  std::stable_sort(list.begin(), list.end(), [](const auto& a, const auto& b) {
    // Fractions of a second may be left out: compare times, not texts.
    const std::chrono::system_clock::time_point unknown;
    return base::ParseTimestamp(a->configuration().creation_date).value_or(unknown) <
           base::ParseTimestamp(b->configuration().creation_date).value_or(unknown);
  });
  return list;
}

bool ContainerManager::StopAll(std::chrono::milliseconds timeout) {
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
  }
  const auto running = List(true);
  if (running.empty()) return true;
  auto latch = std::make_shared<Latch>(running.size());
  for (const auto& container : running) {
    container->Stop(0, -1, [latch](absl::Status) { latch->CountDown(); });
  }
  return latch->WaitFor(timeout);
}

// --- Start-up ---------------------------------------------------------------------------------

absl::Status ContainerManager::Recover(std::vector<std::string>& warnings) {
  RETURN_IF_ERROR(bundles_.Clean());
  ASSIGN_OR_RETURN(std::vector<ContainerRow> rows, store_.List());
  for (ContainerRow& row : rows) {
    const base::Bundle bundle{options_.paths.Bundle(row.id)};
    if (!model::ValidateContainerId(row.id).ok() || ::access(bundle.path.c_str(), F_OK) != 0) {
      warnings.push_back(absl::StrCat("The files of container ", row.id,
                                      " are missing: it was taken off the list."));
      RETURN_IF_ERROR(store_.Remove(row.id));
      continue;
    }
    auto configuration = model::ContainerConfiguration::FromJson(row.configuration_json);
    if (!configuration.ok() || configuration->id != row.id) {
      // AdoptFolders makes it anew from the bundle.
      RETURN_IF_ERROR(store_.Remove(row.id));
      continue;
    }
    if (row.state == State::kDeleting || row.state == State::kCreating) row.state = State::kStopped;
    Add(*std::move(configuration), row);
  }
  RETURN_IF_ERROR(AdoptFolders(warnings));

  const auto containers = List(true);
  if (containers.empty()) return absl::OkStatus();
  auto latch = std::make_shared<Latch>(containers.size());
  for (const auto& container : containers) {
    container->Recover([latch] { latch->CountDown(); });
  }
  if (!latch->WaitFor(std::chrono::seconds(20))) {
    warnings.push_back(
        "Some containers' runtime helpers don't answer; they are still being asked.");
  }
  return absl::OkStatus();
}

absl::Status ContainerManager::AdoptFolders(std::vector<std::string>& warnings) {
  std::error_code error;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(options_.paths.Containers(), error)) {
    names.push_back(entry.path().filename());
  }
  if (error) {
    return base::ErrnoStatus(error.value(), absl::StrCat("read ", options_.paths.Containers()));
  }
  std::vector<std::string> found;
  for (const std::string& name : names) {
    {
      std::lock_guard lock(mutex_);
      if (containers_.contains(name)) continue;
    }
    const base::Bundle bundle{options_.paths.Bundle(name)};
    auto text = base::ReadFile(bundle.Configuration());
    auto configuration = text.ok() ? model::ContainerConfiguration::FromJson(*text)
                                   : absl::StatusOr<model::ContainerConfiguration>(text.status());
    if (!configuration.ok() || configuration->id != name ||
        !model::ValidateContainerId(name).ok()) {
      ASSIGN_OR_RETURN(std::string kept, SetAside(bundle.path, options_.paths.SetAside()));
      warnings.push_back(absl::StrCat("The folder ", bundle.path,
                                      " is no container's: it was moved to ", kept, "."));
      continue;
    }
    ContainerRow row;
    row.id = name;
    row.configuration_json = configuration->ToJson();
    // It may run: then its helper says so. Starting is the state that presumes nothing.
    const bool ran =
        ::access(bundle.Exit().c_str(), F_OK) == 0 || ::access(bundle.Helper().c_str(), F_OK) == 0;
    row.state = ran ? State::kStarting : State::kCreated;
    RETURN_IF_ERROR(store_.Put(row));
    found.push_back(name);
    Add(*std::move(configuration), row);
  }
  if (!found.empty()) {
    warnings.push_back(
        absl::StrCat("Containers that were not in the database were found by their "
                     "folders: ",
                     absl::StrJoin(found, ", "), "."));
  }
  return absl::OkStatus();
}

}  // namespace container::apiserver
