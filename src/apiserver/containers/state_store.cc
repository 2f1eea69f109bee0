#include "apiserver/containers/state_store.h"

#include <sqlite3.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "base/uuid.h"

namespace container::apiserver {
namespace {

/// Each brings the schema from its index to the next version (PRAGMA user_version).
constexpr const char* kMigrations[] = {
    "CREATE TABLE containers ("
    "  id TEXT PRIMARY KEY,"
    "  configuration_json TEXT NOT NULL,"
    "  state TEXT NOT NULL,"
    "  started_ns INTEGER NOT NULL DEFAULT 0,"
    "  finished_ns INTEGER NOT NULL DEFAULT 0,"
    "  exit_code INTEGER,"
    "  error TEXT NOT NULL DEFAULT '',"
    "  helper_pid INTEGER NOT NULL DEFAULT 0,"
    "  helper_start_ticks INTEGER NOT NULL DEFAULT 0"
    ") WITHOUT ROWID;",
};
constexpr int kSchemaVersion = std::size(kMigrations);

absl::Status SqliteStatus(sqlite3* database, int result, absl::string_view what) {
  const std::string message = absl::StrCat(
      what, ": ", database != nullptr ? sqlite3_errmsg(database) : sqlite3_errstr(result));
  switch (result & 0xff) {
    case SQLITE_FULL:
      return absl::ResourceExhaustedError(absl::StrCat(message, ": free some disk space"));
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::DataLossError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::Status Execute(sqlite3* database, const char* sql) {
  const int result = sqlite3_exec(database, sql, nullptr, nullptr, nullptr);
  if (result == SQLITE_OK) return absl::OkStatus();
  return SqliteStatus(database, result, "the database of containers");
}

class Statement {
 public:
  static absl::StatusOr<Statement> Prepare(sqlite3* database, const char* sql) {
    sqlite3_stmt* statement = nullptr;
    const int result = sqlite3_prepare_v2(database, sql, -1, &statement, nullptr);
    if (result != SQLITE_OK) return SqliteStatus(database, result, "the database of containers");
    return Statement(database, statement);
  }
  Statement(Statement&& other) noexcept
      : database_(other.database_), statement_(std::exchange(other.statement_, nullptr)) {}
  ~Statement() { sqlite3_finalize(statement_); }

  void Bind(int index, const std::string& text) {
    sqlite3_bind_text(statement_, index, text.data(), static_cast<int>(text.size()),
                      SQLITE_TRANSIENT);
  }
  void Bind(int index, int64_t value) { sqlite3_bind_int64(statement_, index, value); }
  /// True while there is a row.
  absl::StatusOr<bool> Step() {
    const int result = sqlite3_step(statement_);
    if (result == SQLITE_ROW) return true;
    if (result == SQLITE_DONE) return false;
    return SqliteStatus(database_, result, "the database of containers");
  }
  std::string Text(int column) {
    const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
    return text == nullptr ? "" : std::string(text, sqlite3_column_bytes(statement_, column));
  }
  int64_t Integer(int column) { return sqlite3_column_int64(statement_, column); }
  bool IsNull(int column) { return sqlite3_column_type(statement_, column) == SQLITE_NULL; }

 private:
  Statement(sqlite3* database, sqlite3_stmt* statement)
      : database_(database), statement_(statement) {}
  sqlite3* database_;
  sqlite3_stmt* statement_;
};

absl::StatusOr<std::string> QueryText(sqlite3* database, const char* sql) {
  ASSIGN_OR_RETURN(Statement statement, Statement::Prepare(database, sql));
  ASSIGN_OR_RETURN(bool row, statement.Step());
  return row ? statement.Text(0) : "";
}

absl::Status Prepare(sqlite3* database) {
  RETURN_IF_ERROR(Execute(database, "PRAGMA journal_mode=WAL"));
  RETURN_IF_ERROR(Execute(database, "PRAGMA synchronous=NORMAL"));
  ASSIGN_OR_RETURN(std::string verdict, QueryText(database, "PRAGMA quick_check"));
  if (verdict != "ok") {
    return absl::DataLossError(absl::StrCat("the database of containers is damaged: ", verdict));
  }
  ASSIGN_OR_RETURN(std::string version_text, QueryText(database, "PRAGMA user_version"));
  const int version = std::atoi(version_text.c_str());
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("the database of containers was made by a newer version of container (schema ",
                     version, ", this one knows ", kSchemaVersion, "): install that version"));
  }
  for (int next = version; next < kSchemaVersion; ++next) {
    const std::string sql =
        absl::StrCat("BEGIN;", kMigrations[next], "PRAGMA user_version=", next + 1, ";COMMIT;");
    RETURN_IF_ERROR(Execute(database, sql.c_str()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> SetAside(const std::string& path, const std::string& set_aside) {
  RETURN_IF_ERROR(base::MakeDirectories(set_aside));
  const auto now = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  const std::string target =
      absl::StrCat(set_aside, "/", std::filesystem::path(path).filename().string(), "-",
                   now.count(), "-", base::RandomHex(2));
  if (::rename(path.c_str(), target.c_str()) != 0) {
    return base::ErrnoStatus(absl::StrCat("move ", path, " to ", target));
  }
  return target;
}

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::TryOpen(const std::string& path) {
  sqlite3* database = nullptr;
  const int result =
      sqlite3_open_v2(path.c_str(), &database,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<StateStore> store(new StateStore(database));
  if (result != SQLITE_OK) return SqliteStatus(database, result, absl::StrCat("open ", path));
  sqlite3_busy_timeout(database, 2000);
  RETURN_IF_ERROR(Prepare(database), path);
  return store;
}

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(const std::string& path,
                                                             const std::string& set_aside,
                                                             std::vector<std::string>& warnings) {
  auto store = TryOpen(path);
  if (!absl::IsDataLoss(store.status())) return store;
  const std::string why(store.status().message());
  ASSIGN_OR_RETURN(std::string kept, SetAside(path, set_aside));
  for (const char* suffix : {"-wal", "-shm"}) {
    if (::access((path + suffix).c_str(), F_OK) == 0) {
      RETURN_IF_ERROR(SetAside(path + suffix, set_aside).status());
    }
  }
  warnings.push_back(absl::StrCat("The database of containers could not be read (", why,
                                  "): it was moved to ", kept, "."));
  return TryOpen(path);
}

StateStore::~StateStore() { sqlite3_close(database_); }

absl::StatusOr<std::vector<ContainerRow>> StateStore::List() {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(
      Statement statement,
      Statement::Prepare(database_,
                         "SELECT id, configuration_json, state, started_ns, finished_ns,"
                         " exit_code, error, helper_pid, helper_start_ticks"
                         " FROM containers"));
  std::vector<ContainerRow> rows;
  for (;;) {
    ASSIGN_OR_RETURN(bool more, statement.Step());
    if (!more) return rows;
    ContainerRow& row = rows.emplace_back();
    row.id = statement.Text(0);
    row.configuration_json = statement.Text(1);
    row.state = StateFromName(statement.Text(2)).value_or(State::kStopped);
    row.started_ns = statement.Integer(3);
    row.finished_ns = statement.Integer(4);
    if (!statement.IsNull(5)) row.exit_code = static_cast<int>(statement.Integer(5));
    row.error = statement.Text(6);
    row.helper_pid = static_cast<int>(statement.Integer(7));
    row.helper_start_ticks = static_cast<uint64_t>(statement.Integer(8));
  }
}

absl::Status StateStore::Put(const ContainerRow& row) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(
      Statement statement,
      Statement::Prepare(database_,
                         "INSERT OR REPLACE INTO containers (id, configuration_json, state,"
                         " started_ns, finished_ns, exit_code, error, helper_pid,"
                         " helper_start_ticks) VALUES (?,?,?,?,?,?,?,?,?)"));
  statement.Bind(1, row.id);
  statement.Bind(2, row.configuration_json);
  statement.Bind(3, std::string(Name(row.state)));
  statement.Bind(4, row.started_ns);
  statement.Bind(5, row.finished_ns);
  if (row.exit_code.has_value()) statement.Bind(6, int64_t{*row.exit_code});
  statement.Bind(7, row.error);
  statement.Bind(8, int64_t{row.helper_pid});
  statement.Bind(9, static_cast<int64_t>(row.helper_start_ticks));
  return statement.Step().status();
}

absl::Status StateStore::Remove(const std::string& id) {
  std::lock_guard lock(mutex_);
  ASSIGN_OR_RETURN(Statement statement,
                   Statement::Prepare(database_, "DELETE FROM containers WHERE id=?"));
  statement.Bind(1, id);
  return statement.Step().status();
}

}  // namespace container::apiserver
