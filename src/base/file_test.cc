#include "base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "base/status.h"
#include "gtest/gtest.h"

namespace container::base {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  std::string Path(const std::string& name) { return folder_.path() + "/" + name; }
  TemporaryDirectory folder_ = *TemporaryDirectory::Create();
};

TEST_F(FileTest, AtomicWriteReplacesAndLeavesNothingBehind) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "one").ok());
  ASSERT_TRUE(WriteFileAtomically(Path("a"), "two", 0640).ok());
  EXPECT_EQ(*ReadFile(Path("a")), "two");
  struct stat info;
  ASSERT_EQ(::stat(Path("a").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(FileTest, AFailedWriteLeavesTheOldContent) {
  ASSERT_TRUE(MakeDirectories(Path("target/x")).ok());
  EXPECT_FALSE(WriteFileAtomically(Path("target"), "no").ok());  // A folder can't be replaced.
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), {}), 1);
}

TEST_F(FileTest, ReadIsBounded) {
  ASSERT_TRUE(WriteFileAtomically(Path("a"), std::string(1000, 'x')).ok());
  EXPECT_EQ(ReadFile(Path("a"), 10).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ReadFile(Path("b")).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(FileTest, SparseCopyKeepsHolesAndContent) {
  {
    Fd fd = *Open(Path("a"), O_RDWR | O_CREAT, 0600);
    ASSERT_EQ(::ftruncate(fd.get(), 1 << 30), 0);
    ASSERT_TRUE(PwriteAll(fd.get(), "middle", 512 << 20).ok());
  }
  ASSERT_TRUE(CopySparse(Path("a"), Path("b")).ok());
  struct stat info;
  ASSERT_EQ(::stat(Path("b").c_str(), &info), 0);
  EXPECT_EQ(info.st_size, 1 << 30);
  EXPECT_LT(info.st_blocks * 512, 1 << 20);
  Fd fd = *Open(Path("b"), O_RDONLY);
  char text[7] = {};
  ASSERT_EQ(::pread(fd.get(), text, 6, 512 << 20), 6);
  EXPECT_STREQ(text, "middle");
  EXPECT_EQ(CopySparse(Path("a"), Path("b")).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(FileTest, CopiesAcrossFileSystems) {
  if (::access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "SKIPPED: no second file system";
  const std::string content(3 << 20, 'x');
  ASSERT_TRUE(WriteFileAtomically(Path("a"), content).ok());
  auto other = MakeTemporaryDirectory("/dev/shm", "container-test-");
  ASSERT_TRUE(other.ok());
  EXPECT_EQ(CopySparse(Path("a"), *other + "/b"), absl::OkStatus());
  EXPECT_TRUE(*ReadFile(*other + "/b") == content);
  ASSERT_TRUE(RemoveTree(*other).ok());
}

TEST_F(FileTest, RemoveTreeDoesNotFollowLinks) {
  ASSERT_TRUE(MakeDirectories(Path("keep")).ok());
  ASSERT_TRUE(WriteFileAtomically(Path("keep/file"), "x").ok());
  ASSERT_TRUE(MakeDirectories(Path("gone/deep/er")).ok());
  fs::create_directory_symlink(Path("keep"), Path("gone/link"));
  ASSERT_TRUE(RemoveTree(Path("gone")).ok());
  EXPECT_FALSE(fs::exists(Path("gone")));
  EXPECT_TRUE(fs::exists(Path("keep/file")));
  EXPECT_TRUE(RemoveTree(Path("gone")).ok());
}

TEST_F(FileTest, PrivateDirectoriesShutOthersOut) {
  ASSERT_EQ(::mkdir(Path("open").c_str(), 0777), 0);
  ASSERT_EQ(::chmod(Path("open").c_str(), 0777), 0);
  ASSERT_TRUE(MakePrivateDirectory(Path("open")).ok());
  struct stat info;
  ASSERT_EQ(::stat(Path("open").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);
  fs::create_directory_symlink(Path("open"), Path("link"));
  EXPECT_EQ(MakePrivateDirectory(Path("link")).code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(FileTest, LocksExclude) {
  Fd held = *LockFile(Path("lock"), false);
  EXPECT_EQ(LockFile(Path("lock"), false).status().code(), absl::StatusCode::kUnavailable);
  held.Reset();
  EXPECT_TRUE(LockFile(Path("lock"), false).ok());
}

}  // namespace
}  // namespace container::base
