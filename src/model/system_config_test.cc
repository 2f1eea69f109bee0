#include "model/system_config.h"

#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::model {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class SystemConfigTest : public ::testing::Test {
 protected:
  absl::StatusOr<SystemConfig> Load(const std::string& system, const std::string& user) {
    EXPECT_TRUE(base::WriteFileAtomically(folder_.path() + "/system.toml", system).ok());
    EXPECT_TRUE(base::WriteFileAtomically(folder_.path() + "/user.toml", user).ok());
    return SystemConfig::LoadFiles(folder_.path() + "/system.toml", folder_.path() + "/user.toml");
  }
  base::TemporaryDirectory folder_ = *base::TemporaryDirectory::Create();
};

TEST_F(SystemConfigTest, UserOverSystemOverDefault) {
  auto config = Load("[container]\ncpus = 2\nmemory = \"2g\"\n", "[container]\ncpus = 3\n");
  ASSERT_TRUE(config.ok()) << config.status();
  SystemConfig expected;
  expected.container_cpus = 3;
  expected.container_memory_bytes = int64_t{2} << 30;
  EXPECT_EQ(*config, expected);
}

TEST_F(SystemConfigTest, MissingFilesAreEmpty) {
  EXPECT_EQ(*SystemConfig::LoadFiles(folder_.path() + "/a", ""), SystemConfig());
}

TEST_F(SystemConfigTest, RegistryHosts) {
  auto config = Load(
      "[registry.hosts.\"a.test:5000\"]\ninsecure = true\n"
      "[registry.hosts.\"docker.io\"]\ninsecure = true\n",
      "[registry]\ndomain = \"ghcr.io\"\n[registry.hosts.\"docker.io\"]\n"
      "mirrors = [\"m.test:1\", \"https://n.test/proxy\"]\nca = \"ca.pem\"\n");
  ASSERT_TRUE(config.ok()) << config.status();
  SystemConfig expected;
  expected.registry_domain = "ghcr.io";
  expected.registry_hosts["a.test:5000"].insecure = true;
  expected.registry_hosts["docker.io"] = {
      {"m.test:1", "https://n.test/proxy"}, folder_.path() + "/ca.pem", false};
  EXPECT_EQ(*config, expected);

  const auto error = [&](const std::string& text) {
    return std::string(Load("", text).status().message());
  };
  EXPECT_THAT(error("[registry]\nhosts = 1\n"), HasSubstr("line 2: registry.hosts: expected"));
  EXPECT_THAT(error("[registry.hosts]\n\"a\" = 1\n"),
              HasSubstr("line 2: registry.hosts.\"a\": expected a section"));
  EXPECT_THAT(error("[registry.hosts.a]\n\nmirrors = [\"x\", 3]\n"),
              HasSubstr("user.toml, line 3: registry.hosts.\"a\".mirrors: expected a string"));
  EXPECT_THAT(error("[registry.hosts.a]\nmirrors = [\"user@host\"]\n"), HasSubstr("user@host"));
  EXPECT_THAT(error("[registry.hosts.a]\ninsecure = 1\n"), HasSubstr("expected true or false"));
  EXPECT_THAT(error("[registry.hosts.a]\nca = \"\"\n"), HasSubstr("expected a path"));
  EXPECT_THAT(error("[registry.hosts.a]\nspeed = 1\n"), HasSubstr("ca, insecure, mirrors"));
}

TEST_F(SystemConfigTest, ErrorsNameFileLineAndKey) {
  EXPECT_THAT(std::string(Load("", "\n[vm]\naccelerator = \"fast\"\n").status().message()),
              AllOf(HasSubstr("user.toml, line 3: vm.accelerator"), HasSubstr("\"tcg\"")));
  EXPECT_THAT(std::string(Load("[vm]\nspeed = 1\n", "").status().message()),
              AllOf(HasSubstr("system.toml, line 2: vm.speed"), HasSubstr("no such key")));
  EXPECT_THAT(std::string(Load("", "[nothing]\n").status().message()),
              HasSubstr("no such section"));
  EXPECT_THAT(std::string(Load("", "[container]\ncpus = \"2\"\n").status().message()),
              HasSubstr("expected a whole number"));
  EXPECT_THAT(std::string(Load("", "[container\n").status().message()), HasSubstr("line 1"));
}

}  // namespace
}  // namespace container::model
