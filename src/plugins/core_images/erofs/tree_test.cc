#include "plugins/core_images/erofs/tree.h"

#include <gtest/gtest.h>

namespace container::erofs {
namespace {

TEST(TreeTest, CountsNamesAndGivesBackContent) {
  Tree tree;
  Inode* file = tree.NewInode(S_IFREG | 0644).value();
  file->data_block = 10;
  file->data_blocks = 3;
  Inode* folder = tree.NewInode(S_IFDIR | 0755).value();
  ASSERT_TRUE(tree.Set(tree.root(), "d", folder, 1).ok());
  ASSERT_TRUE(tree.Set(folder, "a", file, 1).ok());
  ASSERT_TRUE(tree.Set(tree.root(), "b", file, 1).ok());
  EXPECT_EQ(file->links, 2u);
  EXPECT_EQ(folder->folder->parent, tree.root());
  tree.Remove(tree.root(), "d");
  EXPECT_EQ(file->links, 1u);
  EXPECT_TRUE(tree.dropped().empty());
  ASSERT_TRUE(tree.Set(tree.root(), "b", tree.NewInode(S_IFIFO).value(), 2).ok());
  ASSERT_EQ(tree.dropped().size(), 1u);
  EXPECT_EQ(tree.dropped()[0].block, 10u);
  EXPECT_EQ(tree.dropped()[0].blocks, 3u);
}

TEST(TreeTest, ReplacesAFolderByWhatIsInIt) {
  Tree tree;
  Inode* file = tree.NewInode(S_IFREG | 0644).value();
  Inode* folder = tree.NewInode(S_IFDIR | 0755).value();
  ASSERT_TRUE(tree.Set(tree.root(), "d", folder, 1).ok());
  ASSERT_TRUE(tree.Set(folder, "a", file, 1).ok());
  ASSERT_TRUE(tree.Set(tree.root(), "d", file, 1).ok());
  EXPECT_EQ(file->links, 1u);
  EXPECT_EQ(Tree::Find(tree.root(), "d")->inode, file);
}

TEST(TreeTest, RemovesOnlyWhatLowerLayersHave) {
  Tree tree;
  const auto add = [&](Inode* parent, const char* name, uint16_t mode, uint32_t layer) {
    Inode* inode = tree.NewInode(mode).value();
    EXPECT_TRUE(tree.Set(parent, name, inode, layer).ok());
    return inode;
  };
  Inode* top = add(tree.root(), "top", S_IFDIR | 0700, 1);
  add(top, "old", S_IFREG, 1);
  add(top, "new", S_IFREG, 2);
  add(add(top, "gone", S_IFDIR, 1), "x", S_IFREG, 1);
  Inode* half = add(top, "half", S_IFDIR | 0700, 1);
  add(half, "old", S_IFREG, 1);
  add(half, "new", S_IFREG, 2);
  add(add(top, "fresh", S_IFDIR | 0711, 2), "new", S_IFREG, 2);
  tree.RemoveLower(top, 2);
  EXPECT_EQ(top->mode, S_IFDIR | 0700);  // the folder itself is not meant
  EXPECT_EQ(Tree::Find(top, "old"), nullptr);
  EXPECT_EQ(Tree::Find(top, "gone"), nullptr);
  EXPECT_NE(Tree::Find(top, "new"), nullptr);
  ASSERT_NE(Tree::Find(top, "half"), nullptr);
  EXPECT_EQ(half->mode, kDefaultFolderMode);
  EXPECT_EQ(half->folder->links.size(), 1u);
  EXPECT_EQ(Tree::Find(top, "fresh")->inode->mode, S_IFDIR | 0711);
}

TEST(TreeTest, KeepsItsLimits) {
  Tree tree({.inodes = 3, .memory_bytes = 1 << 20});
  EXPECT_TRUE(tree.NewInode(S_IFREG).ok());
  EXPECT_TRUE(tree.NewInode(S_IFREG).ok());
  EXPECT_EQ(tree.NewInode(S_IFREG).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(tree.Charge(1000).ok());
  EXPECT_EQ(tree.Charge(1 << 20).code(), absl::StatusCode::kResourceExhausted);
}

TEST(TreeTest, ForgetsADeepTree) {
  Tree tree;
  Inode* current = tree.root();
  for (int i = 0; i < 200'000; ++i) {
    Inode* next = tree.NewInode(S_IFDIR).value();
    ASSERT_TRUE(tree.Set(current, "d", next, 1).ok());
    current = next;
  }
  tree.Remove(tree.root(), "d");
  EXPECT_TRUE(tree.root()->folder->links.empty());
}

}  // namespace
}  // namespace container::erofs
