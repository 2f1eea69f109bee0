// `container run` as a user meets it, on the image of the first run.
#include <sys/stat.h>
#include <sys/utsname.h>

#include <filesystem>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "e2e/system_fixture.h"
#include "gmock/gmock.h"

namespace container::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::StartsWith;

class RunTest : public SystemTest {
 protected:
  /// What `run --rm first ARGUMENTS` prints, without the last newline.
  static std::string Output(std::vector<std::string> options, std::vector<std::string> command) {
    std::vector<std::string> arguments = {"run", "--rm"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.push_back("first");
    arguments.insert(arguments.end(), command.begin(), command.end());
    Result result = Run(arguments);
    EXPECT_EQ(result.status, 0) << result;
    EXPECT_EQ(result.err, "");
    return std::string(absl::StripSuffix(result.out, "\n"));
  }
};

TEST_F(RunTest, GreetsFromTheImagesOwnCommand) {
  EXPECT_THAT(Output({}, {}),
              StartsWith("Hello from a container in a virtual machine of its own!"));
}

TEST_F(RunTest, EveryContainerHasAKernelOfItsOwn) {
  utsname host;
  ASSERT_EQ(::uname(&host), 0);
  EXPECT_NE(Output({}, {"uname", "-r"}), host.release);
  const std::string one = Output({}, {"cat", "/proc/sys/kernel/random/boot_id"});
  const std::string two = Output({}, {"cat", "/proc/sys/kernel/random/boot_id"});
  EXPECT_EQ(one.size(), 36u);
  EXPECT_NE(one, two);
}

TEST_F(RunTest, StatusIsTheProcesss) {
  EXPECT_EQ(Run({"run", "--rm", "first", "sh", "-c", "exit 7"}).status, 7);
  EXPECT_EQ(Run({"run", "--rm", "first", "true"}).status, 0);
}

TEST_F(RunTest, ASignalIs128AndItsNumber) {
  const std::string id = "signalled";
  ASSERT_EQ(Run({"run", "-d", "--name", id, "first", "sleep", "1000"}).status, 0);
  ASSERT_EQ(Run({"kill", "-s", "KILL", id}).status, 0);
  EXPECT_TRUE(Eventually([&] {
    return absl::StrContains(Run({"inspect", id}).out, "\"exitCode\": 137") ||
           absl::StrContains(Run({"inspect", id}).out, "\"exitCode\":137");
  })) << Run({"inspect", id});
  EXPECT_EQ(Run({"rm", id}).status, 0);
}

TEST_F(RunTest, WhatCannotRunIs127Or126) {
  Result missing = Run({"run", "--rm", "first", "no-such-program"});
  EXPECT_EQ(missing.status, 127) << missing;
  EXPECT_THAT(missing.err, AllOf(StartsWith("Error: "), HasSubstr("no-such-program")));
  Result not_executable = Run({"run", "--rm", "first", "/etc/passwd"});
  EXPECT_EQ(not_executable.status, 126) << not_executable;
  EXPECT_THAT(not_executable.err, HasSubstr("/etc/passwd"));
}

TEST_F(RunTest, StreamsAreKeptApart) {
  Result result = Run({"run", "--rm", "first", "sh", "-c", "echo out; echo err >&2"});
  EXPECT_EQ(result.out, "out\n");
  EXPECT_EQ(result.err, "err\n");
}

TEST_F(RunTest, OptionsOfTheProcess) {
  EXPECT_EQ(Output({"-e", "A=one two", "--env", "B=3"}, {"sh", "-c", "echo $A,$B"}), "one two,3");
  EXPECT_EQ(Output({"-w", "/tmp"}, {"pwd"}), "/tmp");
  EXPECT_EQ(Output({"--workdir", "/made/here"}, {"pwd"}), "/made/here");
  EXPECT_EQ(Output({"-u", "nobody"}, {"id", "-u"}), "65534");
  EXPECT_EQ(Output({"--user", "12:34"}, {"sh", "-c", "id -u; id -g"}), "12\n34");
  EXPECT_EQ(Output({"--entrypoint", "echo"}, {"x", "-y"}), "x -y");
  EXPECT_EQ(Output({"--name", "called"}, {"hostname"}), "called");
}

TEST_F(RunTest, AnUnknownUserIsAnError) {
  Result result = Run({"run", "--rm", "-u", "nosuchuser", "first", "true"});
  EXPECT_NE(result.status, 0);
  EXPECT_THAT(result.err, AllOf(StartsWith("Error: "), HasSubstr("nosuchuser")));
}

TEST_F(RunTest, Resources) {
  EXPECT_EQ(Output({"-c", "2"}, {"nproc"}), "2");
  int kib = 0;
  ASSERT_TRUE(absl::SimpleAtoi(
      Output({"-m", "256M"}, {"awk", "/MemTotal/ {print $2}", "/proc/meminfo"}), &kib));
  EXPECT_GT(kib, 180 << 10);
  EXPECT_LE(kib, 256 << 10);
}

TEST_F(RunTest, AnIdleGuestUsesLittleMemory) {
  int kib = 0;
  ASSERT_TRUE(absl::SimpleAtoi(
      Output({},
             {"awk", "/MemTotal/ {t=$2} /MemAvailable/ {a=$2} END {print t-a}", "/proc/meminfo"}),
      &kib));
  EXPECT_LT(kib, 45 << 10);
}

TEST_F(RunTest, RootFileSystem) {
  // Capital letters of the mount: overlay, writable, and nothing of the guest's own initramfs.
  EXPECT_THAT(
      Output({}, {"sh", "-c",
                  "head -1 /proc/mounts; touch /x && echo writable; ls -d /init"
                  " 2>/dev/null || true"}),
      AllOf(HasSubstr("overlay / overlay"), HasSubstr("writable"), Not(HasSubstr("/init"))));
}

TEST_F(RunTest, TheProcessIsConfined) {
  // Process 1 of its own namespace, docker's default capabilities, and no block device to open.
  EXPECT_EQ(Output({}, {"sh", "-c", "echo $$"}), "1");
  EXPECT_EQ(Output({}, {"awk", "/CapBnd/ {print $2}", "/proc/self/status"}), "00000000a80425fb");
  EXPECT_NE(Run({"run", "--rm", "first", "mount", "-t", "tmpfs", "none", "/tmp"}).status, 0);
  EXPECT_EQ(Output({}, {"sh", "-c", "ls /dev/vd* 2>/dev/null | wc -l"}), "0");
}

TEST_F(RunTest, StandardInputIsPassedOnWithMinusI) {
  std::string input;
  for (int line = 0; line < 20000; ++line) input += "line " + std::to_string(line) + "\n";
  Result result = Run({"run", "--rm", "-i", "first", "cat"}, input);
  EXPECT_EQ(result.status, 0) << result.err;
  EXPECT_TRUE(result.out == input) << result.out.size() << " bytes of " << input.size();
  Result without = Run({"run", "--rm", "first", "cat"}, "unread\n");
  EXPECT_EQ(without.status, 0);
  EXPECT_EQ(without.out, "");
}

TEST_F(RunTest, NothingIsTruncatedAtTheEnd) {
  Result result = Run({"run", "--rm", "first", "seq", "1", "200000"});
  EXPECT_EQ(result.status, 0);
  std::vector<std::string> lines = absl::StrSplit(result.out, '\n');
  ASSERT_EQ(lines.size(), 200001u);
  EXPECT_EQ(lines[199999], "200000");
}

TEST_F(RunTest, TheClockIsTheHosts) {
  int64_t guest = 0;
  const int64_t before = ::time(nullptr);
  ASSERT_TRUE(absl::SimpleAtoi(Output({}, {"date", "+%s"}), &guest));
  EXPECT_GE(guest, before);
  EXPECT_LE(guest, ::time(nullptr) + 1);
}

TEST_F(RunTest, RmLeavesNothing) {
  ASSERT_EQ(Run({"run", "--rm", "--name", "gone", "first", "true"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return !std::filesystem::exists(instance().Bundle("gone")); }));
  EXPECT_THAT(Run({"list", "-a", "-q"}).out, Not(HasSubstr("gone")));
  // The name is free again.
  EXPECT_EQ(Run({"run", "--rm", "--name", "gone", "first", "true"}).status, 0);
}

TEST_F(RunTest, CreateTakesNoSpace) {
  ASSERT_EQ(Run({"create", "--name", "small", "first"}).status, 0);
  int64_t allocated = 0;
  for (const auto& entry : std::filesystem::directory_iterator(instance().Bundle("small"))) {
    struct stat info;
    ASSERT_EQ(::stat(entry.path().c_str(), &info), 0);
    // The root file system is a hard link to the image's.
    if (info.st_nlink == 1) allocated += info.st_blocks * 512;
  }
  EXPECT_LE(allocated, 1 << 20);
  EXPECT_EQ(Run({"rm", "small"}).status, 0);
}

TEST_F(RunTest, TenAtOnce) {
  std::vector<base::Subprocess> children;
  for (int i = 0; i < 10; ++i) {
    const std::string base = absl::StrCat(instance().folder(), "/ten", i);
    children.push_back(instance().Start({"run", "--rm", "-m", "256M", "-c", "1", "first", "sh",
                                         "-c", absl::StrCat("echo number ", i, "; exit ", i)},
                                        base + ".out", base + ".err"));
  }
  for (int i = 0; i < 10; ++i) {
    auto end = children[i].WaitFor(std::chrono::seconds(300));
    ASSERT_TRUE(end.ok() && end->has_value()) << i;
    const std::string base = absl::StrCat(instance().folder(), "/ten", i);
    EXPECT_EQ((*end)->ShellStatus(), i) << *base::ReadFile(base + ".err");
    EXPECT_EQ(*base::ReadFile(base + ".out"), absl::StrCat("number ", i, "\n"));
  }
  EXPECT_TRUE(Eventually([&] { return Run({"list", "-a", "-q"}).out.empty(); }));
}

}  // namespace
}  // namespace container::e2e
