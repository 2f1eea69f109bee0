// The metadata of containers: SQLite in the app root, one row a container.
//
// WAL with synchronous=NORMAL: a crash of the process loses nothing, a crash of the machine may
// lose the last changes but never the consistency. That is enough, because a crash of the machine
// ends every VM anyway, and because a row can be made again from its bundle's config.json.
//
// A database that can't be read is moved to the set-aside folder, never deleted, and an empty one
// takes its place. One made by a newer version is refused with FAILED_PRECONDITION.
//
// Thread-safe. Errors: RESOURCE_EXHAUSTED (disk full), INTERNAL.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "apiserver/containers/transitions.h"

struct sqlite3;

namespace container::apiserver {

struct ContainerRow {
  std::string id;
  std::string configuration_json;  // model::ContainerConfiguration
  State state = State::kCreated;
  int64_t started_ns = 0;   // since the epoch; 0: never
  int64_t finished_ns = 0;  // likewise
  std::optional<int> exit_code;
  std::string error;
  int helper_pid = 0;  // with helper_start_ticks: see base::ProcessIdentity; 0: none
  uint64_t helper_start_ticks = 0;
  friend bool operator==(const ContainerRow&, const ContainerRow&) = default;
};

class StateStore {
 public:
  /// `warnings` gets a sentence for what was set aside.
  static absl::StatusOr<std::unique_ptr<StateStore>> Open(const std::string& path,
                                                          const std::string& set_aside,
                                                          std::vector<std::string>& warnings);
  ~StateStore();
  StateStore(const StateStore&) = delete;
  StateStore& operator=(const StateStore&) = delete;

  /// In no particular order. Rows with a state that there is not are read as stopped.
  absl::StatusOr<std::vector<ContainerRow>> List();
  /// Inserts or replaces.
  absl::Status Put(const ContainerRow& row);
  /// OK if there is none.
  absl::Status Remove(const std::string& id);

 private:
  explicit StateStore(sqlite3* database) : database_(database) {}
  static absl::StatusOr<std::unique_ptr<StateStore>> TryOpen(const std::string& path);

  std::mutex mutex_;
  sqlite3* const database_;
};

/// Moves `path` into `set_aside` under its name and the time. Returns where it is now.
absl::StatusOr<std::string> SetAside(const std::string& path, const std::string& set_aside);

}  // namespace container::apiserver
