// All containers of one app root: names, lookup, creation, and their recovery at start-up.
//
// The list's lock is held for look-ups only. A name is taken before anything else happens and is
// free again whatever fails. Thread-safe; callbacks run on the pool, exactly once.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "apiserver/containers/container.h"
#include "apiserver/containers/image_defaults.h"
#include "proto/images.pb.h"

namespace container::apiserver {

class ContainerManager {
 public:
  using CreateDone = std::function<void(absl::StatusOr<std::string> id)>;
  /// Readies an image's root file system; may block.
  using PrepareRoot = std::function<absl::StatusOr<images::v1::Root>(const std::string& reference,
                                                                     const std::string& platform)>;
  struct Options {
    base::Paths paths;
    CreateDefaults defaults;
    PrepareRoot prepare_root;
    std::function<absl::StatusOr<model::RuntimeConfiguration>()> runtime_configuration;
  };

  /// The pool, the loop and the store must outlive the manager and every task of theirs.
  ContainerManager(Options options, TaskPool& pool, EventLoop& loop, StateStore& store);

  /// Reconciles database, folders and helpers that still run; returns when every container's state
  /// is right. `warnings` gets a sentence for each thing that was not as it should be.
  absl::Status Recover(std::vector<std::string>& warnings);

  void Create(const std::string& options_json, CreateDone done);

  /// By id, or by the beginning of exactly one id that was made up for its container.
  absl::StatusOr<std::shared_ptr<Container>> Find(const std::string& name) const;
  /// How the last run of a container ended that is gone since a short while.
  std::optional<Exit> ExitOfGone(const std::string& id) const;
  /// Oldest first.
  std::vector<std::shared_ptr<Container>> List(bool all) const;

  /// Ends every container that runs, in parallel; no new ones can be created or started. False if
  /// some still run at the end of `timeout`.
  bool StopAll(std::chrono::milliseconds timeout);
  bool closing() const;

  base::Bundle BundleOf(const std::string& id) const {
    return base::Bundle{options_.paths.Bundle(id)};
  }

 private:
  absl::StatusOr<std::string> DoCreate(const std::string& options_json);
  absl::Status Build(const std::string& id, const model::CreateOptions& options);
  void Add(model::ContainerConfiguration configuration, const ContainerRow& row);
  void Gone(const std::string& id, std::optional<Exit> exit);
  absl::Status AdoptFolders(std::vector<std::string>& warnings);

  struct GoneExit {
    std::string id;
    Exit exit;
    std::chrono::steady_clock::time_point when;
  };

  const Options options_;
  TaskPool& pool_;
  StateStore& store_;
  BundleMaker bundles_;
  ContainerContext context_;

  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Container>> containers_;
  std::set<std::string> creating_;
  std::deque<GoneExit> gone_;
  bool closing_ = false;
};

}  // namespace container::apiserver
