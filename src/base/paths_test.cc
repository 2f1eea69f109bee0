#include "base/paths.h"

#include <cstdlib>
#include <map>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::base {
namespace {

using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class PathsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const char* name : {"HOME", "XDG_DATA_HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME",
                             "XDG_CONFIG_HOME", "CONTAINER_APP_ROOT", "CONTAINER_INSTALL_ROOT",
                             "CONTAINER_LOG_ROOT", "CONTAINER_CONFIG"}) {
      const char* value = std::getenv(name);
      saved_[name] = value == nullptr ? std::nullopt : std::optional<std::string>(value);
      ::unsetenv(name);
    }
  }
  void TearDown() override {
    for (const auto& [name, value] : saved_) {
      if (value.has_value())
        ::setenv(name.c_str(), value->c_str(), 1);
      else
        ::unsetenv(name.c_str());
    }
  }
  std::map<std::string, std::optional<std::string>> saved_;
};

TEST_F(PathsTest, FollowTheXdgDirectories) {
  ::setenv("HOME", "/home/ann", 1);
  ::setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  auto paths = Paths::FromEnvironment();
  ASSERT_TRUE(paths.ok()) << paths.status();
  EXPECT_EQ(paths->app_root(), "/home/ann/.local/share/container");
  EXPECT_EQ(paths->runtime_dir(), "/run/user/7/container");
  EXPECT_EQ(paths->log_root(), "/home/ann/.local/state/container");
  EXPECT_EQ(paths->ApiserverSocket(), "/run/user/7/container/apiserver.sock");
  EXPECT_EQ(UserConfigFile(), "/home/ann/.config/container/config.toml");
  ::setenv("XDG_DATA_HOME", "/data", 1);
  EXPECT_EQ(Paths::FromEnvironment()->app_root(), "/data/container");
}

TEST_F(PathsTest, AnotherAppRootHasItsOwnSockets) {
  ::setenv("HOME", "/home/ann", 1);
  ::setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
  ::setenv("CONTAINER_APP_ROOT", "/srv/one/", 1);
  auto one = Paths::FromEnvironment();
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(one->app_root(), "/srv/one");
  EXPECT_THAT(one->runtime_dir(), StartsWith("/run/user/7/container-"));
  EXPECT_EQ(one->log_root(), "/srv/one/log");
  auto two = one->WithRoots("/srv/two", "", "");
  ASSERT_TRUE(two.ok());
  EXPECT_NE(one->runtime_dir(), two->runtime_dir());
  // What a process with the variable set computes is what --app-root gave.
  ::setenv("CONTAINER_APP_ROOT", "/srv/two", 1);
  EXPECT_EQ(Paths::FromEnvironment()->runtime_dir(), two->runtime_dir());
}

TEST_F(PathsTest, NoHomeIsAnError) {
  EXPECT_EQ(Paths::FromEnvironment().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(PathsTest, TooLongASocketPathIsFoundEarly) {
  ::setenv("HOME", "/h", 1);
  ::setenv("XDG_RUNTIME_DIR", ("/" + std::string(90, 'x')).c_str(), 1);
  auto paths = Paths::FromEnvironment();
  EXPECT_EQ(paths.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(paths.status().message()), HasSubstr("XDG_RUNTIME_DIR"));
}

TEST_F(PathsTest, SocketsOfLongIdsAreShort) {
  auto paths = Paths::Create("/a", "/i", "/r", "/l");
  const std::string one = paths->RuntimeSocket(std::string(63, 'a'));
  EXPECT_EQ(one.size(), std::string("/r/r/0123456789abcdef.sock").size());
  EXPECT_THAT(one, EndsWith(".sock"));
  EXPECT_THAT(one, Not(paths->RuntimeSocket(std::string(62, 'a'))));
}

}  // namespace
}  // namespace container::base
