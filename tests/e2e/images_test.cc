// Images through the real CLI: from a registry on loopback that skopeo filled, and from archives.
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "e2e/system_fixture.h"
#include "gmock/gmock.h"
#include "integration/registry_fixture.h"
#include "nlohmann/json.hpp"

namespace container::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class ImagesTest : public SystemTest {
 protected:
  static void SetUpTestSuite() {
    SystemTest::SetUpTestSuite();
    auto registry = testing::RegistryFixture::Start();
    ASSERT_TRUE(registry.ok()) << registry.status();
    registry_ = std::move(*registry);
    ASSERT_EQ(registry_->Fill("oci-archive:" + instance().folder() + "/first.tar", "team/first:1"),
              absl::OkStatus());
  }
  static void TearDownTestSuite() {
    registry_.reset();
    SystemTest::TearDownTestSuite();
  }
  static std::unique_ptr<testing::RegistryFixture> registry_;
};

std::unique_ptr<testing::RegistryFixture> ImagesTest::registry_;

TEST_F(ImagesTest, PulledAndRun) {
  const std::string reference = registry_->Reference("team/first:1");
  // `run` pulls what is missing; progress goes to standard error alone.
  Result run = Run({"run", "--rm", reference, "echo", "pulled"});
  EXPECT_EQ(run.status, 0) << run;
  EXPECT_EQ(run.out, "pulled\n");
  EXPECT_THAT(Run({"image", "list"}).out, AllOf(HasSubstr("team/first"), HasSubstr("first")));

  Json image = Json::parse(Run({"image", "inspect", reference}).out, nullptr, false);
  ASSERT_TRUE(image.is_array() && image.size() == 1);
  EXPECT_EQ(image[0]["configuration"]["name"], reference);
  EXPECT_EQ(image[0]["variants"][0]["platform"]["os"], "linux");
  EXPECT_THAT(std::string(image[0]["configuration"]["descriptor"]["digest"]), HasSubstr("sha256:"));

  Result again = Run({"image", "pull", reference});
  EXPECT_EQ(again.status, 0) << again;
  // The same by digest.
  const std::string digest = image[0]["configuration"]["descriptor"]["digest"];
  const std::string repository = reference.substr(0, reference.rfind(':'));
  EXPECT_EQ(Run({"run", "--rm", repository + "@" + digest, "echo", "exact"}).out, "exact\n");

  EXPECT_EQ(Run({"image", "tag", reference, "mine:2"}).status, 0);
  EXPECT_EQ(Run({"image", "delete", reference}).status, 0);
  EXPECT_EQ(Run({"run", "--rm", "mine:2", "echo", "tagged"}).out, "tagged\n");
  EXPECT_EQ(Run({"image", "delete", "mine:2"}).status, 0);
  EXPECT_THAT(Run({"image", "list"}).out, Not(HasSubstr("mine")));
}

TEST_F(ImagesTest, AContainerKeepsItsImageAlive) {
  const std::string reference = registry_->Reference("team/first:1");
  ASSERT_EQ(Run({"create", "--name", "keeper", reference, "echo", "kept"}).status, 0);
  ASSERT_EQ(Run({"image", "delete", reference}).status, 0);
  Result started = Run({"start", "-a", "keeper"});
  EXPECT_EQ(started.status, 0) << started;
  EXPECT_EQ(started.out, "kept\n");
  EXPECT_EQ(Run({"rm", "keeper"}).status, 0);
}

TEST_F(ImagesTest, RegistryErrors) {
  Result missing = Run({"image", "pull", registry_->Reference("team/first:nosuch")});
  EXPECT_EQ(missing.status, 1) << missing;
  EXPECT_THAT(missing.err, AllOf(HasSubstr("Error: "), HasSubstr("nosuch")));
  Result platform =
      Run({"image", "pull", "--platform", "linux/s390x", registry_->Reference("team/first:1")});
  EXPECT_EQ(platform.status, 1) << platform;
  EXPECT_THAT(platform.err, HasSubstr("linux/s390x"));
}

TEST_F(ImagesTest, ARealAlpine) {
  auto layer = SharedImage("alpine-minirootfs-3.20.3-x86_64.tar.gz");
  if (!layer.has_value()) GTEST_SKIP() << "SKIPPED: no alpine layer beside the checkout";
  // An image around the real layer, made by umoci and pushed by skopeo.
  const std::string layout = instance().folder() + "/alpine";
  const std::string bundle = instance().folder() + "/alpine-bundle";
  auto tool = [](const std::string& program, const std::vector<std::string>& arguments) {
    Result result = RunProgram({.program = program, .arguments = arguments}, "", kCommandTimeout);
    ASSERT_EQ(result.status, 0) << program << " " << result;
  };
  tool("umoci", {"init", "--layout", layout});
  tool("umoci", {"new", "--image", layout + ":3.20"});
  const std::string tar = instance().folder() + "/alpine.tar";
  tool("sh", {"-c", "gzip -dc '" + *layer + "' >'" + tar + "'"});
  tool("umoci", {"raw", "add-layer", "--image", layout + ":3.20", tar});
  tool("umoci", {"config", "--image", layout + ":3.20", "--config.cmd", "/bin/sh", "--config.env",
                 "PATH=/usr/sbin:/usr/bin:/sbin:/bin"});
  ASSERT_EQ(registry_->Fill("oci:" + layout + ":3.20", "library/alpine:3.20"), absl::OkStatus());
  const std::string reference = registry_->Reference("library/alpine:3.20");
  Result release = Run({"run", "--rm", reference, "cat", "/etc/alpine-release"});
  EXPECT_EQ(release.out, "3.20.3\n") << release;
  EXPECT_EQ(Run({"run", "--rm", reference, "sh", "-c", "apk --version | cut -d, -f1"}).out,
            "apk-tools 2.14.4\n");
  EXPECT_EQ(Run({"run", "--rm", "-i", reference}, "echo $((6 * 7))\n").out, "42\n");
}

TEST_F(ImagesTest, TheOfficialBusybox) {
  auto archive = SharedImage("busybox-1.38.0-glibc-amd64.oci.tar");
  if (!archive.has_value()) GTEST_SKIP() << "SKIPPED: no busybox archive beside the checkout";
  Result loaded = Run({"image", "load", "-i", *archive});
  ASSERT_EQ(loaded.status, 0) << loaded;
  EXPECT_THAT(loaded.out, HasSubstr("busybox"));
  Result run = Run({"run", "--rm", "busybox:1.38.0", "busybox", "uname", "-s"});
  EXPECT_EQ(run.out, "Linux\n") << run;
}

TEST_F(ImagesTest, LoadsWhatSkopeoWrites) {
  const std::string source = "oci-archive:" + instance().folder() + "/first.tar";
  const std::string folder = instance().folder();
  for (const auto& [target, path, name] :
       std::vector<std::tuple<std::string, std::string, std::string>>{
           {"docker-archive:" + folder + "/docker.tar:example.com/docker:1", folder + "/docker.tar",
            "example.com/docker:1"},
           {"oci-archive:" + folder + "/oci.tar:example.com/oci:1", folder + "/oci.tar",
            "example.com/oci:1"},
           {"oci:" + folder + "/layout:example.com/layout:1", folder + "/layout",
            "example.com/layout:1"}}) {
    Result copied = RunProgram(
        {.program = "skopeo", .arguments = {"--insecure-policy", "copy", source, target}}, "",
        kCommandTimeout);
    ASSERT_EQ(copied.status, 0) << copied;
    Result loaded = Run({"image", "load", "-i", path});
    ASSERT_EQ(loaded.status, 0) << target << loaded;
    EXPECT_EQ(Run({"run", "--rm", name, "echo", "from", name}).out, "from " + name + "\n")
        << target;
  }
}

TEST_F(ImagesTest, ARegistryThatIsDown) {
  registry_->Stop();
  Result down = Run({"image", "pull", registry_->Reference("team/first:1")});
  EXPECT_EQ(down.status, 1) << down;
  EXPECT_THAT(down.err, HasSubstr("127.0.0.1"));
}

}  // namespace
}  // namespace container::e2e
