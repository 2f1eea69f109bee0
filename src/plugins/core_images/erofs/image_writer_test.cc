#include "plugins/core_images/erofs/image_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "base/fd.h"
#include "base/file.h"
#include "fmt/format.h"
#include "plugins/core_images/archive/tar_builder.h"
#include "plugins/core_images/erofs/flatten.h"
#include "plugins/core_images/erofs/format.h"

namespace container::erofs {
namespace {

using archive::TarBuilder;

TEST(Crc32cTest, IsCastagnoliWithoutTheLastInversion) {
  EXPECT_EQ(~Crc32c("123456789"), 0xe3069283u);
}

TEST(EncodeDeviceTest, IsTheKernelsEncoding) {
  EXPECT_EQ(EncodeDevice(5, 1), 0x501u);
  EXPECT_EQ(EncodeDevice(0xfff, 0xfffff), 0xffffffffu);
  EXPECT_EQ(EncodeDevice(8, 300), 0x0010082cu);
}

TEST(PackFolderTest, SortsByBytesAndCutsIntoBlocks) {
  Tree tree;
  const auto add = [&](const std::string& name) {
    EXPECT_TRUE(tree.Set(tree.root(), name, tree.NewInode(S_IFREG).value(), 1).ok());
  };
  add("!first");
  add("-second");
  add(".!between");
  add("\xff");
  const std::string packed = PackFolder(*tree.root());
  EXPECT_EQ(packed.substr(6 * kDirentBytes), "!first-second..!between..\xff");
  uint16_t offset = 0;
  std::memcpy(&offset, packed.data() + 8, sizeof(offset));
  EXPECT_EQ(offset, 6 * kDirentBytes);

  for (int i = 0; i < 1000; ++i) add(fmt::format("name{:0200}", i));
  const std::string large = PackFolder(*tree.root());
  size_t names = 0;
  for (size_t block = 0; block < large.size(); block += kBlockBytes) {
    std::memcpy(&offset, large.data() + block + 8, sizeof(offset));
    ASSERT_GT(offset, 0);
    ASSERT_EQ(offset % kDirentBytes, 0u);
    names += offset / kDirentBytes;
  }
  EXPECT_EQ(names, 1006u);
}

class FlattenerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = base::TemporaryDirectory::Create();
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    path_ = folder_->path() + "/image.erofs";
  }

  bool Exists() const { return access(path_.c_str(), F_OK) == 0; }

  absl::StatusOr<ImageSummary> Flatten(const std::vector<std::string>& layers,
                                       FlattenLimits limits = {}) {
    unlink(path_.c_str());
    auto flattener = Flattener::Create(path_, limits);
    if (!flattener.ok()) return flattener.status();
    for (const std::string& layer : layers) {
      archive::MemorySource source(layer);
      const absl::Status status = (*flattener)->AddLayer(source);
      if (!status.ok()) return status;
    }
    return (*flattener)->Finish("identity");
  }

  int Fsck() const {
    const pid_t pid = fork();
    if (pid == 0) {
      execlp("fsck.erofs", "fsck.erofs", "--extract", path_.c_str(), nullptr);
      _exit(127);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
  }

  std::optional<base::TemporaryDirectory> folder_;
  std::string path_;
};

// Sizes around every boundary of blocks, inodes and inline data, with and without attributes.
std::string Boundaries() {
  TarBuilder tar;
  int count = 0;
  for (const size_t attribute : {0, 5, 4000, 9000}) {
    for (const size_t base : {0, 32, 4096, 8192, 262144}) {
      for (const int delta : {-65, -64, -33, -1, 0, 1, 33, 4031, 4032, 4033}) {
        if (static_cast<int64_t>(base) + delta < 0) continue;
        if (attribute > 0) {
          tar.Extended({{"SCHILY.xattr.user.filler", std::string(attribute, 'f')}});
        }
        tar.File(fmt::format("f{}", count),
                 std::string(base + delta, static_cast<char>('a' + count % 26)));
        ++count;
      }
    }
    tar.Symlink(fmt::format("s{}", attribute), "target");
  }
  tar.Extended({{"linkpath", std::string(4095, 'l')}}).Symlink("long", "l");
  return tar.Finish();
}

TEST_F(FlattenerTest, WritesWhatFsckAccepts) {
  ASSERT_TRUE(Flatten({}).ok());
  EXPECT_EQ(Fsck(), 0);
  const auto summary = Flatten({Boundaries()});
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_EQ(summary->image_bytes % kBlockBytes, 0u);
  EXPECT_EQ(Fsck(), 0);
}

TEST_F(FlattenerTest, GivesTheSameBytesAgain) {
  const std::string layer = Boundaries();
  const std::string upper = TarBuilder().File(".wh.f1", "").File("f2", "new").Finish();
  ASSERT_TRUE(Flatten({layer, upper}).ok());
  const auto first = base::ReadFile(path_, 64 << 20);
  ASSERT_TRUE(Flatten({layer, upper}).ok());
  EXPECT_TRUE(*first == base::ReadFile(path_, 64 << 20).value());
}

TEST_F(FlattenerTest, GivesBackTheSpaceOfHiddenFiles) {
  const std::string lower = TarBuilder().File("big", std::string(8 << 20, 'x')).Finish();
  ASSERT_TRUE(Flatten({lower, TarBuilder().File(".wh.big", "").Finish()}).ok());
  struct stat info = {};
  ASSERT_EQ(stat(path_.c_str(), &info), 0);
  EXPECT_LT(info.st_blocks * 512, 1 << 20);
  EXPECT_EQ(Fsck(), 0);
}

TEST_F(FlattenerTest, LeavesNothingBehindAfterAnError) {
  const std::string layer = TarBuilder().File("f", std::string(100'000, 'x')).Finish();
  EXPECT_EQ(Flatten({layer.substr(0, 50'000)}).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(Exists());
  const auto flattener = Flattener::Create(path_);
  ASSERT_TRUE(flattener.ok());
  EXPECT_EQ(Flattener::Create(path_).status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_TRUE(Exists());
  archive::MemorySource bad(std::string_view(layer).substr(0, 700));
  const absl::Status status = (*flattener)->AddLayer(bad);
  archive::MemorySource good(layer);
  EXPECT_EQ((*flattener)->AddLayer(good), status);
  EXPECT_EQ((*flattener)->Finish().status(), status);
}

TEST_F(FlattenerTest, KeepsItsLimits) {
  const std::string sparse =
      TarBuilder()
          .Extended({{"GNU.sparse.map", "0,4"}, {"GNU.sparse.size", "9000000000000000000"}})
          .File("huge", "1234")
          .Finish();
  EXPECT_EQ(Flatten({sparse}).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(Flatten({TarBuilder().File("f", std::string(1 << 20, 'x')).Finish()},
                    {.image_bytes = 1 << 20})
                .status()
                .code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(
      Flatten({TarBuilder().Folder("a").Folder("b").Folder("c").Finish()}, {.tree = {.inodes = 3}})
          .status()
          .code(),
      absl::StatusCode::kResourceExhausted);
  EXPECT_FALSE(Exists());
}

}  // namespace
}  // namespace container::erofs
