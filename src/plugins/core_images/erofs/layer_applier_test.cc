#include "plugins/core_images/erofs/layer_applier.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "base/fd.h"
#include "base/file.h"
#include "fmt/format.h"
#include "plugins/core_images/archive/tar_builder.h"

namespace container::erofs {
namespace {

using archive::TarBuilder;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class LayerApplierTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = base::TemporaryDirectory::Create();
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    auto fd = base::Open(folder_->path() + "/image", O_RDWR | O_CREAT, 0600);
    ASSERT_TRUE(fd.ok());
    fd_ = *std::move(fd);
    writer_.emplace(fd_.get(), uint64_t{1} << 32);
  }

  absl::Status Apply(const TarBuilder& tar) {
    const std::string bytes = tar.Finish();
    archive::MemorySource source(bytes);
    archive::TarReader reader(source);
    return LayerApplier(tree_, *writer_, ++layer_).Apply(reader, {});
  }

  // "name" of a file, "name/" of a folder, "name -> target" of a link, in order.
  std::vector<std::string> Names() {
    std::vector<std::string> names;
    Collect(tree_.root(), "", names);
    return names;
  }

  Inode* Get(std::string_view path) {
    Inode* current = tree_.root();
    while (!path.empty()) {
      const std::string_view name = path.substr(0, path.find('/'));
      path.remove_prefix(std::min(path.size(), name.size() + 1));
      Link* link = Tree::Find(current, name);
      if (link == nullptr) return nullptr;
      current = link->inode;
    }
    return current;
  }

  Tree tree_;

 private:
  static void Collect(Inode* folder, const std::string& prefix, std::vector<std::string>& names) {
    for (const auto& [name, link] : folder->folder->links) {
      const std::string path = prefix + name;
      if (link.inode->is_folder()) {
        names.push_back(path + "/");
        Collect(link.inode, path + "/", names);
      } else {
        names.push_back(link.inode->is_link() ? path + " -> " + link.inode->target : path);
      }
    }
  }

  std::optional<base::TemporaryDirectory> folder_;
  base::Fd fd_;
  std::optional<ImageWriter> writer_;
  uint32_t layer_ = 0;
};

TEST_F(LayerApplierTest, MakesMissingFolders) {
  ASSERT_TRUE(Apply(TarBuilder().File("/a//b/./c", "x")).ok());
  EXPECT_THAT(Names(), ElementsAre("a/", "a/b/", "a/b/c"));
  EXPECT_EQ(Get("a")->mode, S_IFDIR | 0755);
}

TEST_F(LayerApplierTest, TakesTheRootsAttributes) {
  ASSERT_TRUE(Apply(TarBuilder().Folder("./", 0700)).ok());
  EXPECT_EQ(tree_.root()->mode, S_IFDIR | 0700);
  EXPECT_FALSE(Apply(TarBuilder().File(".", "")).ok());
}

TEST_F(LayerApplierTest, HidesWhatLowerLayersHave) {
  ASSERT_TRUE(
      Apply(TarBuilder().File("a", "").File("d/x", "").File("d/y", "").File("e/z", "")).ok());
  ASSERT_TRUE(Apply(TarBuilder()
                        .File(".wh.a", "")
                        .File("d/.wh.x", "")
                        .File(".wh.e", "")
                        .File(".wh.nothing", "")
                        .File("no/where/.wh.x", ""))
                  .ok());
  EXPECT_THAT(Names(), ElementsAre("d/", "d/y"));
}

TEST_F(LayerApplierTest, WhiteoutsSpareTheirOwnLayer) {
  ASSERT_TRUE(Apply(TarBuilder().File("a", "").File("d/x", "").File("d/y", "")).ok());
  ASSERT_TRUE(Apply(TarBuilder()
                        .File("a", "new")
                        .File(".wh.a", "")
                        .Folder("d")
                        .File("d/new", "")
                        .File(".wh.d", ""))
                  .ok());
  EXPECT_THAT(Names(), ElementsAre("a", "d/", "d/new"));
  EXPECT_EQ(Get("a")->size, 3u);
}

TEST_F(LayerApplierTest, OpaqueFoldersHideLowerLayersInAnyOrder) {
  for (const bool marker_first : {true, false}) {
    tree_.Remove(tree_.root(), "d");
    ASSERT_TRUE(
        Apply(TarBuilder().Folder("d", 0700).File("d/x", "").File("d/s/y", "").File("d/t/z", ""))
            .ok());
    TarBuilder upper;
    if (marker_first) upper.File("d/.wh..wh..opq", "");
    upper.Folder("d", 0711).File("d/new", "").File("d/s/new", "");
    if (!marker_first) upper.File("d/.wh..wh..opq", "");
    ASSERT_TRUE(Apply(upper).ok());
    EXPECT_THAT(Names(), ElementsAre("d/", "d/new", "d/s/", "d/s/new"));
    EXPECT_EQ(Get("d")->mode, S_IFDIR | 0711);
  }
}

TEST_F(LayerApplierTest, SkipsBookkeepingOfAufs) {
  ASSERT_TRUE(
      Apply(
          TarBuilder().File(".wh..wh.aufs", "").Folder(".wh..wh.plnk").File(".wh..wh.plnk/1.2", ""))
          .ok());
  EXPECT_THAT(Names(), IsEmpty());
}

TEST_F(LayerApplierTest, ReplacesAcrossTypes) {
  ASSERT_TRUE(Apply(TarBuilder().File("f", "").Folder("d").File("d/x", "").Symlink("l", "d")).ok());
  ASSERT_TRUE(Apply(TarBuilder().Folder("f").File("f/y", "").File("d", "").Folder("l")).ok());
  EXPECT_THAT(Names(), ElementsAre("d", "f/", "f/y", "l/"));
}

TEST_F(LayerApplierTest, KeepsWhatIsInAFolderThatIsNamedAgain) {
  ASSERT_TRUE(Apply(TarBuilder().Folder("d", 0700).File("d/x", "")).ok());
  ASSERT_TRUE(Apply(TarBuilder().Folder("d", 0711)).ok());
  EXPECT_THAT(Names(), ElementsAre("d/", "d/x"));
  EXPECT_EQ(Get("d")->mode, S_IFDIR | 0711);
}

TEST_F(LayerApplierTest, LinksAcrossLayers) {
  ASSERT_TRUE(Apply(TarBuilder().File("a", "1").HardLink("b", "a").Symlink("s", "a")).ok());
  EXPECT_EQ(Get("a")->links, 2u);
  ASSERT_TRUE(Apply(TarBuilder().HardLink("d/c", "/b").HardLink("s2", "s").File("a", "2")).ok());
  EXPECT_EQ(Get("d/c"), Get("b"));
  EXPECT_NE(Get("a"), Get("b"));
  EXPECT_EQ(Get("b")->links, 2u);
  EXPECT_EQ(Get("s2"), Get("s"));
  // A name linked to itself stays.
  ASSERT_TRUE(Apply(TarBuilder().HardLink("b", "b")).ok());
  EXPECT_EQ(Get("b")->links, 2u);
}

TEST_F(LayerApplierTest, FollowsLinksInsideTheRootOnly) {
  ASSERT_TRUE(Apply(TarBuilder()
                        .Folder("usr/lib")
                        .Symlink("lib", "usr/lib")
                        .Symlink("abs", "/usr")
                        .Symlink("out", "../../../../outside")
                        .Symlink("usr/up", "../usr/./lib"))
                  .ok());
  ASSERT_TRUE(Apply(TarBuilder()
                        .File("lib/a", "")
                        .File("abs/b", "")
                        .File("out/c", "")
                        .File("abs/up/d", "")
                        .File("lib/.wh.a", ""))
                  .ok());
  EXPECT_THAT(Names(), ElementsAre("abs -> /usr", "lib -> usr/lib", "out -> ../../../../outside",
                                   "outside/", "outside/c", "usr/", "usr/b", "usr/lib/",
                                   "usr/lib/a", "usr/lib/d", "usr/up -> ../usr/./lib"));
}

TEST_F(LayerApplierTest, FindsTheRightFolderAfterALinkWasReplaced) {
  ASSERT_TRUE(Apply(TarBuilder().Folder("one").Folder("two").Symlink("l", "one")).ok());
  ASSERT_TRUE(Apply(TarBuilder().File("l/a", "").Symlink("l", "two").File("l/b", "")).ok());
  EXPECT_THAT(Names(), ElementsAre("l -> two", "one/", "one/a", "two/", "two/b"));
}

TEST_F(LayerApplierTest, RefusesWhatCannotBeObeyed) {
  const auto refused = [&](const TarBuilder& tar, std::string_view why) {
    const absl::Status status = Apply(tar);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(std::string(why)));
  };
  refused(TarBuilder().File("../x", ""), "\"..\" in the name \"../x\"");
  refused(TarBuilder().File("a/../b", ""), "\"..\"");
  refused(TarBuilder().Folder(".."), "\"..\"");
  refused(TarBuilder().HardLink("h", "../../etc/passwd"), "its link target");
  refused(TarBuilder().HardLink("h", "missing"), "a hard link to \"missing\", which isn't there");
  refused(TarBuilder().HardLink("h", "h"), "isn't there");
  refused(TarBuilder().Folder("d").HardLink("h", "d"), "which is a folder");
  refused(TarBuilder().Symlink("x", "y").Symlink("y", "x").File("x/f", ""), "too many links");
  refused(TarBuilder().Symlink("grow", "grow/aaaa/bbbb").File("grow/f", ""), "links");
  refused(TarBuilder().File("f", "").File("f/g", ""), "\"f\" on the way to it is not a folder");
  refused(TarBuilder().Symlink("e", ""), "empty");
  refused(TarBuilder().File(".wh.", ""), "whiteout");
  refused(TarBuilder().File(".wh...", ""), "whiteout");
  refused(TarBuilder().Header({.name = "c", .type = '3', .major = 5000}), "device number");
  refused(TarBuilder().Extended({{"path", std::string(256, 'n')}}).File("n", ""), "255 bytes");
}

TEST(EncodeXattrsTest, KeepsWhatTheImageCanHold) {
  EXPECT_EQ(EncodeXattrs({}).value(), "");
  EXPECT_EQ(EncodeXattrs({{"trusted.overlay.opaque", "y"}, {"system.other", "x"}, {"user.", "x"}})
                .value(),
            "");
  EXPECT_EQ(EncodeXattrs({{"user.abc", "12"}}).value(),
            std::string(12, '\0') + std::string("\x03\x01\x02\0abc12\0\0\0", 12));
  EXPECT_EQ(EncodeXattrs({{"system.posix_acl_access", "1234"}}).value(),
            std::string(12, '\0') + std::string("\0\x02\x04\0001234", 8));
  EXPECT_FALSE(EncodeXattrs({{"user.a", std::string(70'000, 'x')}}).ok());
  EXPECT_FALSE(EncodeXattrs({{"user." + std::string(300, 'x'), ""}}).ok());
}

}  // namespace
}  // namespace container::erofs
