#include "model/container.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace container::model {
namespace {

ContainerConfiguration Example() {
  ContainerConfiguration c;
  c.id = "web";
  c.image_reference = "docker.io/library/alpine:latest";
  c.image_descriptor = {"application/vnd.oci.image.index.v1+json", "sha256:00", 12};
  c.init_process.executable = "sh";
  c.init_process.arguments = {"-c", "echo \"hi\""};
  c.init_process.environment = {"A=b"};
  c.init_process.user = "nobody:users";
  c.init_process.supplemental_groups = {7};
  c.init_process.rlimits = {{"RLIMIT_NOFILE", 1024, UINT64_MAX}};
  c.resources = {2, 256 << 20};
  c.labels = {{"k", "v"}};
  c.auto_remove = true;
  c.open_stdin = true;
  c.hostname = "web";
  c.read_only = c.use_init = c.privileged = c.own_host_files = true;
  c.cap_add = {"ALL"};
  c.cap_drop = {"CAP_CHOWN"};
  c.shm_size_bytes = 1 << 20;
  c.sysctls = {{"net.core.somaxconn", "7"}};
  c.masked_paths = std::vector<std::string>();
  c.read_only_paths = {"/etc"};
  c.tmpfs = {{"/run", {"size=1m", "exec"}}};
  c.extra_hosts = {{"db", "10.0.0.1"}};
  c.kernel = "/k/vmlinux";
  return c;
}

TEST(ContainerTest, ConfigurationSurvivesJson) {
  auto back = ContainerConfiguration::FromJson(Example().ToJson());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, Example());
}

TEST(ContainerTest, PublicObjectHasThePublicKeys) {
  ContainerStatus status;
  status.state = "running";
  status.exit_code = 3;
  auto json = nlohmann::json::parse(ContainerObjectJson(Example(), status));
  EXPECT_EQ(json["id"], "web");
  EXPECT_EQ(json["configuration"]["image"]["reference"], "docker.io/library/alpine:latest");
  EXPECT_EQ(json["configuration"]["initProcess"]["user"]["raw"]["userString"], "nobody:users");
  EXPECT_EQ(json["configuration"]["resources"]["memoryInBytes"], 256 << 20);
  EXPECT_EQ(json["status"]["state"], "running");
  EXPECT_EQ(json["status"]["exitCode"], 3);
  EXPECT_FALSE(json["status"].contains("startedDate"));
  auto object = ParseContainerObject(json.dump());
  ASSERT_TRUE(object.ok()) << object.status();
  EXPECT_EQ(object->configuration, Example());
  EXPECT_EQ(object->status, status);
}

TEST(ContainerTest, MissingFieldsGetDefaultsAndUnknownOnesAreIgnored) {
  auto c = ContainerConfiguration::FromJson(R"({"id":"x1","future":{"a":1},"initProcess":{}})");
  ASSERT_TRUE(c.ok()) << c.status();
  EXPECT_EQ(c->resources, Resources());
  EXPECT_EQ(c->stop_signal, "SIGTERM");
}

TEST(ContainerTest, NumericUsersAreUnderstood) {
  auto p = ProcessConfiguration::FromJson(R"({"user":{"id":{"uid":5,"gid":6}}})");
  ASSERT_TRUE(p.ok()) << p.status();
  EXPECT_EQ(p->user, "5:6");
}

TEST(ContainerTest, WrongShapesAreErrors) {
  for (const char* text : {"", "[]", "{", R"({"id":5})", R"({"image":3})", R"({"labels":["x"]})"}) {
    EXPECT_EQ(ContainerConfiguration::FromJson(text).status().code(),
              absl::StatusCode::kInvalidArgument)
        << text;
  }
}

TEST(ContainerTest, OptionsSurviveJson) {
  CreateOptions options;
  options.image = "alpine";
  options.entrypoint = "";
  options.cpus = 2;
  options.process.user = "1";
  options.process.arguments = {"a"};
  auto back = CreateOptions::FromJson(options.ToJson());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->ToJson(), options.ToJson());
  EXPECT_EQ(back->entrypoint, "");
  EXPECT_EQ(back->memory_bytes, std::nullopt);
}

}  // namespace
}  // namespace container::model
