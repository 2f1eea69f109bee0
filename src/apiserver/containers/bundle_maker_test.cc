#include "apiserver/containers/bundle_maker.h"

#include <sys/stat.h>

#include <filesystem>

#include "base/file.h"
#include "base/subprocess.h"
#include "gtest/gtest.h"

namespace container::apiserver {
namespace {

class BundleMakerTest : public testing::Test {
 protected:
  BundleMakerTest() {
    EXPECT_TRUE(base::WriteFileAtomically(rootfs_, std::string(1 << 20, 'r')).ok());
    EXPECT_TRUE(maker_.Clean().ok());
  }
  static model::ContainerConfiguration Named(const std::string& id) {
    model::ContainerConfiguration configuration;
    configuration.id = id;
    return configuration;
  }

  base::TemporaryDirectory folder_ = base::TemporaryDirectory::Create().value();
  base::Paths paths_ =
      base::Paths::Create(folder_.path(), "/usr", "/tmp/r", folder_.path()).value();
  std::string rootfs_ = folder_.path() + "/image.erofs";
  BundleMaker maker_{paths_};
};

TEST_F(BundleMakerTest, ABundleIsWholeAndSmall) {
  ASSERT_TRUE(maker_.Make(Named("web"), rootfs_).ok());
  const base::Bundle bundle{paths_.Bundle("web")};
  struct stat rootfs, linked, writable;
  ASSERT_EQ(::stat(rootfs_.c_str(), &rootfs), 0);
  ASSERT_EQ(::stat(bundle.RootFilesystem().c_str(), &linked), 0);
  EXPECT_EQ(rootfs.st_ino, linked.st_ino);
  ASSERT_EQ(::stat(bundle.Writable().c_str(), &writable), 0);
  EXPECT_EQ(writable.st_size, int64_t{64} << 30);
  EXPECT_LE(writable.st_blocks * 512, 512 << 10) << "a container must cost kilobytes";
  EXPECT_EQ(writable.st_mode & 0777, 0600u);
  EXPECT_EQ(model::ContainerConfiguration::FromJson(base::ReadFile(bundle.Configuration()).value())
                .value()
                .id,
            "web");
  EXPECT_EQ(maker_.Make(Named("web"), rootfs_).code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(BundleMakerTest, TheWritableLayerIsACleanFileSystem) {
  const std::string pristine = maker_.WritableTemplate().value();
  base::SubprocessSpec spec;
  spec.program = "/usr/sbin/e2fsck";
  spec.arguments = {"-f", "-n", pristine};
  auto result = base::RunCommand(spec, std::chrono::seconds(60));
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->end.ShellStatus(), 0) << result->standard_output << result->standard_error;
}

TEST_F(BundleMakerTest, AFailureLeavesNothing) {
  EXPECT_FALSE(maker_.Make(Named("web"), folder_.path() + "/missing").ok());
  EXPECT_TRUE(std::filesystem::is_empty(paths_.Containers()));
}

TEST_F(BundleMakerTest, WhatACrashLeftIsCleaned) {
  ASSERT_TRUE(base::MakeDirectories(paths_.Containers() + "/.new-a").ok());
  ASSERT_TRUE(base::MakeDirectories(paths_.Containers() + "/.gone-b-1234").ok());
  ASSERT_TRUE(maker_.Make(Named("kept"), rootfs_).ok());
  ASSERT_TRUE(maker_.Clean().ok());
  EXPECT_TRUE(std::filesystem::exists(paths_.Bundle("kept")));
  EXPECT_FALSE(std::filesystem::exists(paths_.Containers() + "/.new-a"));
  EXPECT_FALSE(std::filesystem::exists(paths_.Containers() + "/.gone-b-1234"));
  const std::string removed = maker_.Remove("kept").value();
  EXPECT_FALSE(std::filesystem::exists(paths_.Bundle("kept")));
  EXPECT_TRUE(std::filesystem::exists(removed));
  BundleMaker::Dispose(removed);
  EXPECT_EQ(maker_.Remove("kept").value(), "");
  EXPECT_TRUE(std::filesystem::is_empty(paths_.Containers()));
}

}  // namespace
}  // namespace container::apiserver
