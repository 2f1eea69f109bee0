#include "apiserver/containers/state_store.h"

#include <filesystem>

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "sqlite3.h"

namespace container::apiserver {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class StateStoreTest : public testing::Test {
 protected:
  std::unique_ptr<StateStore> Open() {
    auto store = StateStore::Open(path_, set_aside_, warnings_);
    EXPECT_TRUE(store.ok()) << store.status();
    return store.ok() ? *std::move(store) : nullptr;
  }

  base::TemporaryDirectory folder_ = base::TemporaryDirectory::Create().value();
  std::string path_ = folder_.path() + "/state.db";
  std::string set_aside_ = folder_.path() + "/set-aside";
  std::vector<std::string> warnings_;
};

TEST_F(StateStoreTest, RowsComeBackWhole) {
  ContainerRow row = {"web", R"({"id":"web"})", State::kStopped, 1, 2, 137, "why", 42, 1ull << 40};
  ContainerRow plain = {.id = "plain", .configuration_json = "{}"};
  {
    auto store = Open();
    ASSERT_TRUE(store->Put(row).ok());
    ASSERT_TRUE(store->Put(plain).ok());
    row.state = State::kRunning;
    row.exit_code.reset();
    ASSERT_TRUE(store->Put(row).ok());
  }
  auto store = Open();
  EXPECT_THAT(store->List().value(), testing::UnorderedElementsAre(row, plain));
  ASSERT_TRUE(store->Remove("plain").ok());
  ASSERT_TRUE(store->Remove("never").ok());
  EXPECT_THAT(store->List().value(), ElementsAre(row));
  EXPECT_THAT(warnings_, IsEmpty());
}

TEST_F(StateStoreTest, ADamagedFileIsSetAside) {
  const std::string noise(8192, 'x');
  ASSERT_TRUE(base::WriteFileAtomically(path_, noise).ok());
  auto store = Open();
  EXPECT_THAT(store->List().value(), IsEmpty());
  ASSERT_THAT(warnings_, SizeIs(1));
  EXPECT_THAT(warnings_[0], HasSubstr(set_aside_));
  std::vector<std::string> kept;
  for (const auto& entry : std::filesystem::directory_iterator(set_aside_))
    kept.push_back(entry.path());
  ASSERT_THAT(kept, SizeIs(1));
  EXPECT_EQ(base::ReadFile(kept[0]).value(), noise);
}

TEST_F(StateStoreTest, DamageInsideIsNoticed) {
  {
    auto store = Open();
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(
          store->Put({.id = "c" + std::to_string(i), .configuration_json = std::string(500, '{')})
              .ok());
    }
  }
  std::string content = base::ReadFile(path_).value();
  for (size_t at = 4096; at < content.size(); ++at) content[at] = '\x5a';
  ASSERT_TRUE(base::WriteFileAtomically(path_, content).ok());
  auto store = Open();
  EXPECT_THAT(warnings_, SizeIs(1));
  EXPECT_THAT(store->List().value(), IsEmpty());
}

TEST_F(StateStoreTest, ANewerSchemaIsRefusedAndKept) {
  Open().reset();
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
  sqlite3_exec(database, "PRAGMA user_version=99", nullptr, nullptr, nullptr);
  sqlite3_close(database);
  auto store = StateStore::Open(path_, set_aside_, warnings_);
  EXPECT_EQ(store.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(std::filesystem::exists(path_));
}

}  // namespace
}  // namespace container::apiserver
