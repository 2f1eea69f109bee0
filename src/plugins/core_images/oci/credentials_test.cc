#include "plugins/core_images/oci/credentials.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace container::oci {
namespace {

class CredentialsTest : public ::testing::Test {
 protected:
  CredentialsTest() { ::signal(SIGPIPE, SIG_IGN); }
  ~CredentialsTest() override {
    if (!path_.empty()) ::setenv("PATH", path_.c_str(), 1);
  }

  void WriteDocker(const std::string& text) {
    ASSERT_TRUE(base::WriteFileAtomically(docker_, text).ok());
  }

  // A program in PATH that answers as a credential helper does.
  void AddHelper(const std::string& name, const std::string& script) {
    const std::string bin = folder_.path() + "/bin";
    ASSERT_TRUE(base::MakeDirectories(bin).ok());
    ASSERT_TRUE(base::WriteFileAtomically(absl::StrCat(bin, "/docker-credential-", name),
                                          "#!/bin/sh\n" + script, 0755)
                    .ok());
    if (path_.empty()) path_ = std::getenv("PATH");
    ::setenv("PATH", absl::StrCat(bin, ":", path_).c_str(), 1);
  }

  base::TemporaryDirectory folder_ = *base::TemporaryDirectory::Create();
  std::string own_ = folder_.path() + "/config/registry-auth.json";
  std::string docker_ = folder_.path() + "/docker.json";
  CredentialStore store_{own_, docker_};
  std::string path_;
};

TEST_F(CredentialsTest, KeepsLoginsToItself) {
  EXPECT_TRUE(store_.List()->empty());
  EXPECT_FALSE(store_.Find("ghcr.io")->has_value());
  EXPECT_FALSE(*store_.Remove("ghcr.io"));
  ASSERT_TRUE(store_.Put("ghcr.io", {"me", "se:cret", ""}).ok());
  ASSERT_TRUE(store_.Put("docker.io", {"you", "p", ""}).ok());
  struct stat info;
  ASSERT_EQ(::stat(own_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_FALSE(absl::StrContains(*base::ReadFile(own_), "se:cret"));
  EXPECT_EQ(**store_.Find("ghcr.io"), (Credential{"me", "se:cret", ""}));
  const auto logins = store_.List();
  ASSERT_EQ(logins->size(), 2u);
  EXPECT_EQ((*logins)[0].registry, "docker.io");
  EXPECT_EQ((*logins)[1].username, "me");
  EXPECT_GT((*logins)[1].modified_ns, 0);
  EXPECT_TRUE(*store_.Remove("ghcr.io"));
  EXPECT_FALSE(store_.Find("ghcr.io")->has_value());
}

TEST_F(CredentialsTest, ReadsDockersFile) {
  // "hub:pw", "q:w"
  WriteDocker(R"({"auths": {"https://index.docker.io/v1/": {"auth": "aHViOnB3"},
                            "https://QUAY.io": {"auth": "cTp3"},
                            "id.test:5000": {"identitytoken": "long"},
                            "kept.elsewhere": {}}})");
  EXPECT_EQ(**store_.Find("docker.io"), (Credential{"hub", "pw", ""}));
  EXPECT_EQ(**store_.Find("quay.io"), (Credential{"q", "w", ""}));
  EXPECT_EQ(**store_.Find("id.test:5000"), (Credential{"", "", "long"}));
  EXPECT_FALSE(store_.Find("kept.elsewhere")->has_value());
  EXPECT_FALSE(store_.Find("id.test")->has_value());
  // Ours come first, and list shows only these.
  ASSERT_TRUE(store_.Put("quay.io", {"mine", "x", ""}).ok());
  EXPECT_EQ((*store_.Find("quay.io"))->username, "mine");
  EXPECT_EQ(store_.List()->size(), 1u);
}

TEST_F(CredentialsTest, AsksCredentialHelpers) {
  AddHelper("good", R"(read server
echo "{\"ServerURL\":\"$server\",\"Username\":\"$1@$server\",\"Secret\":\"s\"}")");
  AddHelper("token", R"(echo '{"Username":"<token>","Secret":"refresh"}')");
  AddHelper("none", "echo 'credentials not found in native keychain'; exit 1");
  AddHelper("bad", "echo 'top secret'; exit 3");
  WriteDocker(R"({"credsStore": "none", "auths": {"left.test": {"auth": "cTp3"}},
                  "credHelpers": {"good.test": "good", "https://index.docker.io/v1/": "good",
                                  "token.test": "token", "bad.test": "bad",
                                  "gone.test": "missing", "evil.test": "../../bin/sh"}})");
  EXPECT_EQ(**store_.Find("good.test"), (Credential{"get@good.test", "s", ""}));
  EXPECT_EQ((*store_.Find("docker.io"))->username, "get@https://index.docker.io/v1/");
  EXPECT_EQ(**store_.Find("token.test"), (Credential{"", "", "refresh"}));
  EXPECT_EQ((*store_.Find("left.test"))->username, "q");
  const absl::Status bad = store_.Find("bad.test").status();
  EXPECT_EQ(bad.code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(absl::StrContains(bad.message(), "secret"));
  EXPECT_EQ(store_.Find("gone.test").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(store_.Find("evil.test").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CredentialsTest, BrokenFilesAreNamedAndNotQuoted) {
  WriteDocker(R"({"auths": {"a.test": {"auth": "hunter2"}})");
  const absl::Status status = store_.Find("a.test").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(status.message(), docker_)) << status;
  EXPECT_FALSE(absl::StrContains(status.message(), "hunter2")) << status;
  WriteDocker(R"({"auths": {"a.test": {"auth": "!!!"}}})");
  EXPECT_EQ(store_.Find("a.test").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(CanonicalRegistryTest, AsReferencesHaveIt) {
  EXPECT_EQ(*CanonicalRegistry("https://index.docker.io/v1/"), "docker.io");
  EXPECT_EQ(*CanonicalRegistry("GHCR.io"), "ghcr.io");
  EXPECT_EQ(*CanonicalRegistry("localhost:5000"), "localhost:5000");
  EXPECT_EQ(*CanonicalRegistry("http://[::1]:5000/v2/"), "[::1]:5000");
  EXPECT_EQ(*CanonicalRegistry("localhost"), "localhost");
  for (const char* wrong : {"", "a b", "-x-:1", "host:port", "ex ample.com"}) {
    EXPECT_FALSE(CanonicalRegistry(wrong).ok()) << wrong;
  }
}

}  // namespace
}  // namespace container::oci
