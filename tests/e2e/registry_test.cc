// Logins, pushing, saving and pruning through the real CLI, against a docker-registry with
// passwords. No virtual machine is started.
#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "e2e/system_fixture.h"
#include "e2e/terminal.h"
#include "gmock/gmock.h"
#include "integration/registry_fixture.h"
#include "nlohmann/json.hpp"

namespace container::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class RegistryTest : public SystemTest {
 protected:
  static void SetUpTestSuite() {
    SystemTest::SetUpTestSuite();
    const auto line = testing::RunTool("htpasswd", {"-Bbn", "me", "hunter2"});
    ASSERT_TRUE(line.ok()) << line.status();
    const std::string passwords = instance().folder() + "/htpasswd";
    ASSERT_TRUE(base::WriteFileAtomically(passwords, *line).ok());
    auto registry = testing::RegistryFixture::Start(
        absl::StrCat("auth: {htpasswd: {realm: test, path: ", passwords, "}}\n"));
    ASSERT_TRUE(registry.ok()) << registry.status();
    registry_ = std::move(*registry);
  }
  static void TearDownTestSuite() {
    registry_.reset();
    SystemTest::TearDownTestSuite();
  }

  // Any name of an image that is there.
  static std::string FirstImage() {
    const Result list = Run({"image", "list", "-q"});
    return list.out.substr(0, list.out.find('\n'));
  }

  static std::unique_ptr<testing::RegistryFixture> registry_;
};

std::unique_ptr<testing::RegistryFixture> RegistryTest::registry_;

TEST_F(RegistryTest, LoginPushPullLogout) {
  const std::string address = registry_->Address();
  const std::string name = registry_->Reference("team/app:1");
  ASSERT_EQ(Run({"image", "tag", FirstImage(), name}).status, 0);
  EXPECT_EQ(Run({"registry", "list", "-q"}).out, "");

  const Result anonymous = Run({"image", "push", name});
  EXPECT_EQ(anonymous.status, 1);
  EXPECT_THAT(anonymous.err, HasSubstr("registry login " + address)) << anonymous;

  const Result wrong =
      Run({"registry", "login", "-u", "me", "--password-stdin", address}, "letmein\n");
  EXPECT_EQ(wrong.status, 1);
  EXPECT_THAT(wrong.err, AllOf(HasSubstr("user name or password"), Not(HasSubstr("letmein"))));
  EXPECT_EQ(Run({"registry", "list", "-q"}).out, "");
  EXPECT_EQ(Run({"registry", "login", address}).status, 2);
  EXPECT_EQ(Run({"registry", "login", "--password-stdin", address}, "x").status, 2);

  const Result login =
      Run({"registry", "login", "-u", "me", "--password-stdin", address}, "hunter2\n");
  EXPECT_EQ(login.status, 0) << login;
  EXPECT_EQ(Run({"registry", "list", "-q"}).out, address + "\n");
  EXPECT_THAT(Run({"registry", "ls"}).out, AllOf(HasSubstr("HOSTNAME"), HasSubstr("me")));
  const Json list = Json::parse(Run({"registry", "list", "--format", "json"}).out, nullptr, false);
  ASSERT_TRUE(list.is_array() && list.size() == 1);
  EXPECT_EQ(list[0]["name"], address);
  EXPECT_EQ(list[0]["username"], "me");

  const Result pushed = Run({"image", "push", "--progress", "plain", name});
  EXPECT_EQ(pushed.status, 0) << pushed;
  EXPECT_TRUE(absl::StartsWith(pushed.out, name + "@sha256:")) << pushed;
  EXPECT_THAT(pushed.err, HasSubstr("Pushing")) << pushed;
  EXPECT_EQ(Run({"image", "delete", name}).status, 0);
  EXPECT_EQ(Run({"image", "pull", name}).status, 0);

  EXPECT_EQ(Run({"registry", "logout", address}).status, 0);
  EXPECT_EQ(Run({"registry", "logout", address}).status, 1);
  EXPECT_EQ(Run({"image", "pull", name}).status, 1);
  EXPECT_EQ(Run({"image", "delete", name}).status, 0);
}

TEST_F(RegistryTest, ThePasswordIsAskedForAndNotShown) {
  const std::string address = registry_->Address();
  {
    Terminal terminal(instance().Spec({"registry", "login", address}), 24, 80);
    ASSERT_TRUE(terminal.WaitForText("Username: ")) << terminal.seen();
    terminal.Type("me\n");
    ASSERT_TRUE(terminal.WaitForText("Password: ")) << terminal.seen();
    terminal.Type(
        "hunter3\x7f"
        "2\r");
    EXPECT_TRUE(terminal.WaitForText("Logged in to " + address)) << terminal.seen();
    EXPECT_EQ(terminal.WaitForExit(), 0) << terminal.seen();
    EXPECT_THAT(terminal.seen(), Not(HasSubstr("hunter")));
    EXPECT_TRUE(terminal.IsCooked());
  }
  EXPECT_EQ(Run({"registry", "logout", address}).status, 0);
  Terminal terminal(instance().Spec({"registry", "login", "-u", "me", address}), 24, 80);
  ASSERT_TRUE(terminal.WaitForText("Password: ")) << terminal.seen();
  terminal.Type("half\x03");
  EXPECT_EQ(terminal.WaitForExit(), 1) << terminal.seen();
  EXPECT_TRUE(terminal.IsCooked());
}

TEST_F(RegistryTest, SavedAndLoaded) {
  const std::string image = FirstImage();
  ASSERT_EQ(Run({"image", "tag", image, "example.com/saved:1"}).status, 0);
  ASSERT_EQ(Run({"image", "tag", image, "example.com/saved:2"}).status, 0);
  const std::string file = instance().folder() + "/saved.tar";
  const Result saved =
      Run({"image", "save", "-o", file, "example.com/saved:1", "example.com/saved:2"});
  EXPECT_EQ(saved.status, 0) << saved;
  EXPECT_EQ(saved.out, "example.com/saved:1\nexample.com/saved:2\n");
  const Result streamed = Run({"image", "save", "example.com/saved:1", "example.com/saved:2"});
  EXPECT_EQ(streamed.status, 0);
  EXPECT_EQ(streamed.out, *base::ReadFile(file, 1 << 30));

  EXPECT_EQ(Run({"image", "rm", "example.com/saved:1", "example.com/saved:2"}).status, 0);
  EXPECT_EQ(Run({"image", "rm", "example.com/saved:1"}).status, 1);
  EXPECT_EQ(Run({"image", "rm", "-f", "example.com/saved:1"}).status, 0);
  EXPECT_EQ(Run({"image", "rm"}).status, 2);
  const Result loaded = Run({"image", "load"}, streamed.out);
  EXPECT_EQ(loaded.status, 0) << loaded;
  EXPECT_EQ(loaded.out, "example.com/saved:1\nexample.com/saved:2\n");
  EXPECT_EQ(Run({"image", "rm", "example.com/saved:1", "example.com/saved:2"}).status, 0);
}

TEST_F(RegistryTest, HistoryAndPrune) {
  const std::string image = FirstImage();
  EXPECT_THAT(Run({"image", "history", image}).out, HasSubstr("CREATED BY"));
  const Json steps =
      Json::parse(Run({"image", "history", "--format", "json", image}).out, nullptr, false);
  ASSERT_TRUE(steps.is_array() && !steps.empty());
  EXPECT_GT(steps.back()["size"], 0);
  EXPECT_EQ(Run({"image", "history", "--platform", "linux/s390x", image}).status, 1);

  ASSERT_EQ(Run({"create", "--name", "user", image, "true"}).status, 0);
  ASSERT_EQ(Run({"image", "tag", image, "example.com/same:1"}).status, 0);
  EXPECT_EQ(Run({"image", "prune"}).out, "");
  EXPECT_EQ(Run({"image", "prune", "-a"}).out, "");
  EXPECT_EQ(Run({"rm", "user"}).status, 0);
  EXPECT_THAT(Run({"image", "prune", "-a"}).out, HasSubstr("example.com/same:1"));
  EXPECT_EQ(Run({"image", "list", "-q"}).out, "");
  instance().LoadFirstImage();
}

TEST_F(RegistryTest, DiskUsageDoctorAndPrune) {
  namespace fs = std::filesystem;
  const std::string image = FirstImage();
  ASSERT_EQ(Run({"create", "--name", "kept", image, "true"}).status, 0);
  EXPECT_THAT(Run({"system", "df"}).out, AllOf(HasSubstr("RECLAIMABLE"), HasSubstr("Kernels")));
  Json usage = Json::parse(Run({"system", "df", "--format", "json"}).out, nullptr, false);
  ASSERT_TRUE(usage.is_object());
  EXPECT_EQ(usage["images"]["total"], usage["images"]["active"]);
  EXPECT_EQ(usage["images"]["reclaimable"], 0);
  EXPECT_EQ(usage["rootFilesystems"]["active"], 1);
  EXPECT_EQ(usage["containers"]["total"], 1);
  EXPECT_GT(usage["containers"]["reclaimable"], 0);

  const auto errors = [&](const Result& result) {
    Json found = Json::array();
    for (const Json& finding : Json::parse(result.out, nullptr, false)) {
      if (finding["result"] == "error" && finding["check"] == "store") found.push_back(finding);
    }
    return found;
  };
  EXPECT_EQ(errors(Run({"system", "doctor", "--format", "json"})).size(), 0);
  // One bit of the largest blob, which is the layer.
  fs::path layer;
  uintmax_t largest = 0;
  for (const auto& entry :
       fs::directory_iterator(instance().app_root() + "/content/blobs/sha256")) {
    if (entry.file_size() <= largest) continue;
    largest = entry.file_size();
    layer = entry.path();
  }
  std::string content = *base::ReadFile(layer, 1 << 30);
  content[content.size() / 2] ^= 1;
  ASSERT_TRUE(base::WriteFileAtomically(layer, content).ok());
  const Result damaged = Run({"system", "doctor", "--format", "json"});
  EXPECT_EQ(damaged.status, 1) << damaged;
  const Json found = errors(damaged);
  ASSERT_EQ(found.size(), 1) << damaged;
  EXPECT_THAT(found[0]["message"].get<std::string>(),
              AllOf(HasSubstr(layer.filename().string()), HasSubstr("pull it again")));
  EXPECT_FALSE(fs::exists(layer));
  instance().LoadFirstImage();
  EXPECT_TRUE(fs::exists(layer));
  EXPECT_EQ(errors(Run({"system", "doctor", "--format", "json"})).size(), 0);
  const fs::path root = instance().Bundle("kept") + "/rootfs.erofs";
  content = *base::ReadFile(root, 1 << 30);
  content[1030] ^= 1;
  ASSERT_TRUE(base::WriteFileAtomically(root, content).ok());
  EXPECT_THAT(Run({"system", "doctor"}).out, HasSubstr("container kept's root file system"));

  const Result pruned = Run({"system", "prune", "-f"});
  EXPECT_EQ(pruned.status, 0) << pruned;
  EXPECT_THAT(pruned.out, AllOf(HasSubstr("container kept\n"), HasSubstr("Reclaimed "),
                                Not(HasSubstr("image "))));
  usage = Json::parse(Run({"system", "df", "--format", "json"}).out, nullptr, false);
  EXPECT_EQ(usage["containers"]["total"], 0);
  EXPECT_EQ(usage["leftovers"]["sizeInBytes"], 0);
  EXPECT_EQ(usage["images"]["reclaimable"], usage["images"]["sizeInBytes"]);

  Terminal terminal(instance().Spec({"system", "prune", "-a"}), 24, 80);
  ASSERT_TRUE(terminal.WaitForText("[y/N]")) << terminal.seen();
  terminal.Type("n\n");
  EXPECT_EQ(terminal.WaitForExit(), 1) << terminal.seen();
  EXPECT_EQ(Run({"image", "list", "-q"}).out, image + "\n");
  ASSERT_EQ(Run({"create", "--name", "gone", image, "true"}).status, 0);
  EXPECT_EQ(Run({"prune"}).out, "gone\n");
  EXPECT_THAT(Run({"system", "prune", "-a"}).out, HasSubstr("image "));
  EXPECT_EQ(Run({"image", "list", "-q"}).out, "");
  instance().LoadFirstImage();
}

}  // namespace
}  // namespace container::e2e
