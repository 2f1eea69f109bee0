// What goes wrong is said: what, why and what to do; the status is right; nothing is left behind.
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "e2e/system_fixture.h"
#include "gmock/gmock.h"

namespace container::e2e {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::AnyOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using ::testing::StartsWith;

/// A whole refusal: the status, an `Error: ` line, and what it must say.
void ExpectError(const Result& result, int status, const std::vector<std::string>& words) {
  EXPECT_EQ(result.status, status) << result;
  EXPECT_THAT(result.err, ContainsRegex("(^|\n)Error: ")) << result;
  for (const std::string& word : words) EXPECT_THAT(result.err, HasSubstr(word));
}

TEST(BadSystemTest, NotStarted) {
  Instance instance;
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"list"}, {"image", "list"}, {"stop", "x1"}}) {
    ExpectError(instance.Run(command), 1, {"container system start"});
  }
  ExpectError(instance.Run({"run", "first"}), 125, {"container system start"});
  EXPECT_EQ(instance.Run({"system", "status"}).status, 1);
}

TEST(BadSystemTest, TooLongARuntimeDirectory) {
  Instance instance;
  const std::string deep = instance.folder() + "/" + std::string(100, 'd');
  ASSERT_TRUE(base::MakeDirectories(deep).ok());
  instance.SetEnvironment("XDG_RUNTIME_DIR", deep);
  ExpectError(instance.Run({"system", "start"}), 1, {"XDG_RUNTIME_DIR"});
  instance.SetEnvironment("XDG_RUNTIME_DIR", instance.folder() + "/run");
}

TEST(BadSystemTest, NoKernel) {
  Instance instance;
  ASSERT_EQ(instance.Run({"system", "start", "--disable-kernel-install"}).status, 0);
  instance.LoadFirstImage();
  ExpectError(instance.Run({"run", "--rm", "--name", "kernelless", "first", "true"}), 125,
              {"kernel", "container system kernel set"});
  EXPECT_EQ(instance.Run({"list", "-a", "-q"}).out, "");
  // What the message says to do helps.
  Result set = instance.Run({"system", "kernel", "set", "--recommended"});
  ASSERT_EQ(set.status, 0) << set;
  EXPECT_EQ(instance.Run({"run", "--rm", "first", "echo", "fine"}).out, "fine\n");
}

TEST(BadSystemTest, KernelsThatAreNone) {
  Instance instance;
  instance.StartSystem();
  const std::string junk = instance.folder() + "/junk";
  ASSERT_TRUE(base::WriteFileAtomically(junk, "not a kernel").ok());
  ExpectError(instance.Run({"system", "kernel", "set", "--binary", junk}), 1, {junk});
  ExpectError(instance.Run({"system", "kernel", "set", "--binary", "/no/such/file"}), 1,
              {"/no/such/file"});
  // From an archive, with the digest right and wrong.
  const std::string tar = instance.folder() + "/kernel.tar";
  ASSERT_EQ(
      RunProgram({.program = "tar",
                  .arguments = {"-C", BuildDir() + "/share/container", "-cf", tar, "vmlinux"}},
                 "", kCommandTimeout)
          .status,
      0);
  ExpectError(instance.Run({"system", "kernel", "set", "--tar", tar, "--binary", "vmlinux",
                            "--digest", "sha256:" + std::string(64, '0')}),
              1, {"digest"});
  Result digest = RunProgram({.program = "sha256sum", .arguments = {tar}}, "", kCommandTimeout);
  Result set = instance.Run({"system", "kernel", "set", "--tar", tar, "--binary", "vmlinux",
                             "--digest", "sha256:" + digest.out.substr(0, 64), "--force"});
  EXPECT_EQ(set.status, 0) << set;
  instance.LoadFirstImage();
  EXPECT_EQ(instance.Run({"run", "--rm", "first", "echo", "fine"}).out, "fine\n");
}

TEST(BadSystemTest, NoQemu) {
  Instance instance;
  // A PATH with everything but QEMU.
  const std::string bin = instance.folder() + "/bin";
  ASSERT_TRUE(base::MakeDirectories(bin).ok());
  for (const char* folder : {"/usr/bin", "/usr/sbin", "/bin", "/sbin"}) {
    for (const auto& entry : fs::directory_iterator(folder)) {
      const std::string name = entry.path().filename();
      std::error_code ignored;
      if (name.rfind("qemu", 0) != 0) fs::create_symlink(entry.path(), bin + "/" + name, ignored);
    }
  }
  instance.SetEnvironment("PATH", bin);
  instance.StartSystem();
  instance.LoadFirstImage();
  ExpectError(instance.Run({"run", "--rm", "first", "true"}), 125, {"qemu-system-x86"});
  EXPECT_EQ(instance.Run({"list", "-a", "-q"}).out, "");
}

TEST(BadSystemTest, OfTwoStartsAtOnceOneWins) {
  Instance instance;
  const std::string base = instance.folder() + "/start";
  std::vector<base::Subprocess> starts;
  for (int i = 0; i < 3; ++i) {
    starts.push_back(
        instance.Start({"system", "start"}, absl::StrCat(base, i), absl::StrCat(base, i, ".err")));
  }
  for (int i = 0; i < 3; ++i) {
    auto end = starts[i].WaitFor(kCommandTimeout);
    ASSERT_TRUE(end.ok() && end->has_value());
    EXPECT_EQ((*end)->ShellStatus(), 0) << *base::ReadFile(absl::StrCat(base, i, ".err"));
  }
  EXPECT_THAT(instance.Processes("container-apiserver"), SizeIs(1));
}

TEST(BadSystemTest, AnAppRootInUse) {
  Instance instance;
  instance.StartSystem();
  // Another runtime directory, so that the socket of the first is not found; the same app root.
  ASSERT_TRUE(base::MakeDirectories(instance.folder() + "/run2").ok());
  instance.SetEnvironment("XDG_RUNTIME_DIR", instance.folder() + "/run2");
  ExpectError(instance.Run({"system", "start"}), 1, {instance.app_root()});
  instance.SetEnvironment("XDG_RUNTIME_DIR", instance.folder() + "/run");
  EXPECT_EQ(instance.Run({"list"}).status, 0);
}

TEST(BadSystemTest, AWrongConfiguration) {
  Instance instance;
  const std::string file = instance.folder() + "/config.toml";
  ASSERT_TRUE(base::WriteFileAtomically(file, "[vm]\n\naccelerator = 5\n").ok());
  ExpectError(instance.Run({"system", "start"}), 1, {file, "line 3", "vm.accelerator"});
  ASSERT_TRUE(base::RemoveFile(file).ok());
  instance.StartSystem();
}

TEST(BadSystemTest, AForcedAcceleratorIsTaken) {
  Instance instance;
  ASSERT_TRUE(
      base::WriteFileAtomically(instance.folder() + "/config.toml", "[vm]\naccelerator = \"tcg\"\n")
          .ok());
  instance.StartSystem();
  EXPECT_THAT(instance.Run({"system", "status"}).out, HasSubstr("tcg"));
}

TEST(BadSystemTest, OutOfDisk) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: a small file system needs root";
  Instance instance;
  ASSERT_TRUE(base::MakeDirectories(instance.app_root()).ok());
  if (::mount("none", instance.app_root().c_str(), "tmpfs", 0, "size=256m") != 0) {
    GTEST_SKIP() << "SKIPPED: can't mount a tmpfs here";
  }
  instance.StartSystem();
  instance.LoadFirstImage();
  ASSERT_EQ(instance.Run({"run", "--rm", "first", "true"}).status, 0);
  const std::string filler = instance.app_root() + "/filler";
  {
    std::ofstream stream(filler, std::ios::binary);
    const std::string block(1 << 16, 'x');
    while (stream.write(block.data(), block.size()).flush()) {
    }
  }
  Result full = instance.Run({"run", "--rm", "--name", "full", "first", "true"});
  ExpectError(full, 125, {});
  EXPECT_THAT(full.err, AnyOf(HasSubstr("No space left"), HasSubstr("disk")));
  ASSERT_TRUE(base::RemoveFile(filler).ok());
  // The daemon lives on and the name is free.
  Result after = instance.Run({"run", "--rm", "--name", "full", "first", "echo", "fine"});
  EXPECT_EQ(after.out, "fine\n") << after;
  EXPECT_EQ(instance.Run({"system", "stop"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return ::umount(instance.app_root().c_str()) == 0; }));
}

class BadInputTest : public SystemTest {};

TEST_F(BadInputTest, Images) {
  // Nothing listens on port 1 of the loopback.
  ExpectError(Run({"run", "--rm", "127.0.0.1:1/none:latest", "true"}), 125, {"127.0.0.1:1"});
  ExpectError(Run({"image", "pull", "127.0.0.1:1/none:latest"}), 1, {"127.0.0.1:1"});
  ExpectError(Run({"run", "--rm", "Not A Reference", "true"}), 125, {"Not A Reference"});
  ExpectError(Run({"image", "inspect", "unknown"}), 1, {"unknown"});
  ExpectError(Run({"image", "delete", "unknown"}), 1, {"unknown"});
  ExpectError(Run({"image", "tag", "unknown", "other"}), 1, {"unknown"});
  ExpectError(Run({"run", "--rm", "--platform", "linux/s390x", "first", "true"}), 125,
              {"linux/s390x"});
  ExpectError(Run({"image", "load", "-i", "/no/such/archive"}), 1, {"/no/such/archive"});
  const std::string junk = instance().folder() + "/junk.tar";
  ASSERT_TRUE(base::WriteFileAtomically(junk, std::string(5000, 'j')).ok());
  ExpectError(Run({"image", "load", "-i", junk}), 1, {"junk.tar"});
  // The first image's archive, cut in the middle.
  std::string archive = *base::ReadFile(instance().folder() + "/first.tar", 256 << 20);
  ASSERT_TRUE(base::WriteFileAtomically(junk, archive.substr(0, archive.size() / 2)).ok());
  ExpectError(Run({"image", "load", "-i", junk}), 1, {});
  // One byte of a layer changed: the digest tells.
  archive[archive.size() / 2] ^= 1;
  ASSERT_TRUE(base::WriteFileAtomically(junk, archive).ok());
  ExpectError(Run({"image", "load", "-i", junk}), 1, {"sha256"});
  EXPECT_EQ(Run({"run", "--rm", "first", "echo", "fine"}).out, "fine\n");
}

TEST_F(BadInputTest, Containers) {
  ASSERT_EQ(Run({"create", "--name", "taken", "first"}).status, 0);
  ExpectError(Run({"create", "--name", "taken", "first"}), 1, {"taken"});
  ExpectError(Run({"run", "--name", "taken", "first"}), 125, {"taken"});
  ExpectError(Run({"exec", "taken", "true"}), 125, {"taken", "container start"});
  EXPECT_EQ(Run({"rm", "taken"}).status, 0);
  for (const char* id : {"a", "-a", "a/b", "../../etc", "a b"}) {
    Result result = Run({"create", absl::StrCat("--name=", id), "first"});
    EXPECT_EQ(result.status, 1) << id << result;
    EXPECT_THAT(result.err, HasSubstr("name"));
  }
  for (const char* verb : {"start", "stop", "delete", "inspect", "logs", "kill"}) {
    ExpectError(Run({verb, "nosuch"}), 1, {"nosuch"});
  }
  ExpectError(Run({"delete", "../../etc"}), 1, {});
  EXPECT_EQ(Run({"list", "-a", "-q"}).out, "");
}

TEST_F(BadInputTest, WrongUsageIs2) {
  for (const std::vector<std::string>& command :
       std::vector<std::vector<std::string>>{{"rnu"},
                                             {"run"},
                                             {"run", "--no-such-flag", "first"},
                                             {"run", "-c", "many", "first"},
                                             {"run", "-c", "-1", "first"},
                                             {"run", "-m", "12parsecs", "first"},
                                             {"run", "-e", "=x", "first"},
                                             {"image"},
                                             {"image", "pul"},
                                             {"kill", "-s", "SIGNOPE", "x1"},
                                             {"list", "--format", "xml"},
                                             {"stop"},
                                             {"delete"}}) {
    Result result = Run(command);
    EXPECT_EQ(result.status, 2) << command[0] << " " << result;
    EXPECT_THAT(result.err, HasSubstr("Error: "));
  }
  EXPECT_THAT(Run({"rnu"}).err, HasSubstr("run"));
  EXPECT_THAT(Run({"image", "pul"}).err, HasSubstr("pull"));
  // Flags of later are unknown, not ignored.
  EXPECT_EQ(Run({"run", "--publish", "80:80", "first"}).status, 2);
}

TEST_F(BadInputTest, TooLittleMemory) {
  ExpectError(Run({"run", "--rm", "-m", "1M", "first", "true"}), 125, {"memory"});
}

TEST_F(BadInputTest, HelpIsOnStandardOutput) {
  for (const std::vector<std::string>& command : std::vector<std::vector<std::string>>{
           {"--help"}, {"run", "--help"}, {"image", "pull", "-h"}, {"system", "start", "--help"}}) {
    Result result = Run(command);
    EXPECT_EQ(result.status, 0);
    EXPECT_THAT(result.out, AnyOf(HasSubstr("Usage"), HasSubstr("usage"), HasSubstr("USAGE")));
  }
  EXPECT_THAT(Run({"--version"}).out, StartsWith("container "));
}

}  // namespace
}  // namespace container::e2e
