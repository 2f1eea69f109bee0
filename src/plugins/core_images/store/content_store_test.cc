#include "plugins/core_images/store/content_store.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/file.h"

namespace container::store {
namespace {

namespace fs = std::filesystem;

class ContentStoreTest : public testing::Test {
 protected:
  ContentStoreTest()
      : folder_(*base::TemporaryDirectory::Create()),
        paths_(*base::Paths::Create(folder_.path() + "/app", folder_.path(), folder_.path() + "/r",
                                    folder_.path() + "/log")) {}

  void SetUp() override { Reopen(); }

  void Reopen() {
    store_.reset();
    auto opened = ContentStore::Open(paths_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  oci::Descriptor Put(const std::string& content, Lease& lease, const std::string& type) {
    const auto digest = store_->PutBlob(content, lease);
    EXPECT_TRUE(digest.ok()) << digest.status();
    return {type, digest.value_or(""), static_cast<int64_t>(content.size())};
  }

  // An image of one layer; returns what a name would stand for.
  oci::Descriptor MakeImage(const std::string& layer_content, Lease& lease) {
    const oci::Descriptor layer = Put(layer_content, lease, oci::kOciLayerTar);
    const nlohmann::json config = {
        {"os", "linux"}, {"architecture", "amd64"}, {"rootfs", {{"diff_ids", {layer.digest}}}}};
    const nlohmann::json manifest = {
        {"schemaVersion", 2},
        {"config", Put(config.dump(), lease, oci::kOciConfig).ToJson()},
        {"layers", {layer.ToJson()}}};
    std::ofstream(store_->RootPath(oci::ChainIdHex({layer.digest}))) << "root";
    return Put(manifest.dump(), lease, oci::kOciManifest);
  }

  size_t Count(const std::string& folder) const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++count;
    return count;
  }
  size_t Blobs() const { return Count(paths_.ContentStore() + "/blobs/sha256"); }
  size_t Roots() const { return Count(paths_.RootFilesystems()); }

  base::TemporaryDirectory folder_;
  base::Paths paths_;
  std::unique_ptr<ContentStore> store_;
};

TEST_F(ContentStoreTest, OneProcessOwnsIt) {
  EXPECT_EQ(ContentStore::Open(paths_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(ContentStoreTest, VerifiesWhatIsWritten) {
  const auto lease = store_->NewLease();
  auto blob = *store_->NewBlob();
  ASSERT_TRUE(blob->Append("hello").ok());
  EXPECT_EQ(blob->Commit(oci::Sha256Digest("other"), 5, *lease).status().code(),
            absl::StatusCode::kDataLoss);
  blob = *store_->NewBlob();
  ASSERT_TRUE(blob->Append("hello").ok());
  EXPECT_EQ(blob->Commit(oci::Sha256Digest("hello"), 4, *lease).status().code(),
            absl::StatusCode::kDataLoss);
  blob.reset();
  EXPECT_EQ(Blobs(), 0u);
  EXPECT_EQ(Count(paths_.ContentStore() + "/staging"), 0u);

  blob = *store_->NewBlob();
  ASSERT_TRUE(blob->Append("hel").ok());
  ASSERT_TRUE(blob->Append("lo").ok());
  const auto digest = blob->Commit(oci::Sha256Digest("hello"), 5, *lease);
  ASSERT_TRUE(digest.ok()) << digest.status();
  EXPECT_EQ(*store_->ReadBlob({"", *digest, 5}, 100), "hello");
  EXPECT_TRUE(*store_->Has(*digest, 5));
}

TEST_F(ContentStoreTest, NamesSurviveAndFollowTheLastPut) {
  const auto lease = store_->NewLease();
  const oci::Descriptor one = MakeImage("one", *lease);
  const oci::Descriptor two = MakeImage("two", *lease);
  ASSERT_TRUE(store_->Put({{"docker.io/library/b:1", one}, {"docker.io/library/a:1", one}}).ok());
  ASSERT_TRUE(store_->Put({{"docker.io/library/b:1", two}}).ok());
  const auto check = [&] {
    const auto list = store_->List();
    ASSERT_EQ(list.size(), 2u);
    EXPECT_EQ(list[0].name, "docker.io/library/a:1");
    EXPECT_EQ(list[0].descriptor.digest, one.digest);
    EXPECT_EQ(list[1].descriptor.digest, two.digest);
  };
  check();
}

TEST_F(ContentStoreTest, SweepKeepsWhatNamesAndLeasesNeed) {
  auto lease = store_->NewLease();
  const oci::Descriptor one = MakeImage("one", *lease);
  const oci::Descriptor two = MakeImage("two", *lease);
  ASSERT_TRUE(store_->Put({{"a", one}, {"b", one}, {"c", two}}).ok());
  auto other = store_->NewLease();
  other->PinBlob(oci::Sha256Digest("two"));
  lease.reset();
  ASSERT_EQ(Blobs(), 6u);

  EXPECT_EQ(*store_->Sweep(), 0);
  ASSERT_TRUE(store_->Remove("a").ok());
  EXPECT_EQ(*store_->Sweep(), 0);
  ASSERT_TRUE(store_->Remove("c").ok());
  EXPECT_GT(*store_->Sweep(), 0);
  EXPECT_EQ(Blobs(), 4u);  // all of one, and the pinned layer
  EXPECT_EQ(Roots(), 1u);
  other.reset();
  ASSERT_TRUE(store_->Remove("b").ok());
  EXPECT_GT(*store_->Sweep(), 0);
  EXPECT_EQ(Blobs(), 0u);
  EXPECT_EQ(Roots(), 0u);
  EXPECT_EQ(store_->Remove("b").code(), absl::StatusCode::kNotFound);
}

TEST_F(ContentStoreTest, SweepOfCandidatesLeavesTheRest) {
  const oci::Descriptor one = MakeImage("one", *store_->NewLease());
  const oci::Descriptor two = MakeImage("two", *store_->NewLease());
  const std::set<std::string> candidates = {one.digest};
  ASSERT_TRUE(store_->Sweep(&candidates).ok());
  EXPECT_EQ(Blobs(), 5u);
}

TEST_F(ContentStoreTest, SweepsNothingWhereItCannotKnow) {
  const oci::Descriptor one = MakeImage("one", *store_->NewLease());
  ASSERT_TRUE(store_->Put({{"a", one}}).ok());
  std::ofstream(store_->BlobPath(one.digest)) << "rubbish";
  EXPECT_FALSE(store_->Sweep().ok());
  EXPECT_EQ(Blobs(), 3u);
}

TEST_F(ContentStoreTest, DamagedIndexIsSetAside) {
  const oci::Descriptor one = MakeImage("one", *store_->NewLease());
  ASSERT_TRUE(store_->Put({{"a", one}}).ok());
  store_.reset();
  std::ofstream(paths_.ContentStore() + "/index.json") << "{\"manifests\": [";
  Reopen();
  EXPECT_TRUE(store_->List().empty());
  EXPECT_EQ(store_->TakeWarnings().size(), 1u);
  EXPECT_EQ(Count(paths_.SetAside()), 1u);
  EXPECT_EQ(Blobs(), 3u);
}

TEST_F(ContentStoreTest, DamagedBlobsAreSetAside) {
  const auto lease = store_->NewLease();
  const auto digest = *store_->PutBlob("content", *lease);
  EXPECT_TRUE(store_->Verify(digest).ok());
  std::ofstream(store_->BlobPath(digest)) << "CONTENT";
  EXPECT_EQ(store_->Verify(digest).code(), absl::StatusCode::kDataLoss);
  EXPECT_FALSE(*store_->Has(digest, 7));
  *store_->PutBlob("content", *lease);
  fs::resize_file(store_->BlobPath(digest), 3);
  EXPECT_FALSE(*store_->Has(digest, 7));
  EXPECT_EQ(Count(paths_.SetAside()), 2u);
}

TEST_F(ContentStoreTest, OpenRemovesWhatACrashLeft) {
  std::ofstream(paths_.ContentStore() + "/staging/half") << "x";
  std::ofstream(store_->TemporaryRootPath()) << "x";
  store_.reset();
  Reopen();
  EXPECT_EQ(Count(paths_.ContentStore() + "/staging"), 0u);
  EXPECT_EQ(Roots(), 0u);
}

TEST_F(ContentStoreTest, WorkersTakeTurns) {
  auto lock = *store_->Lock("key", nullptr);
  EXPECT_EQ(store_->Lock("key", [] { return true; }).status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(store_->Lock("other", nullptr).ok());
  std::atomic<bool> got = false;
  std::thread waiter([&] {
    const auto second = store_->Lock("key", nullptr);
    got = second.ok();
  });
  EXPECT_FALSE(got);
  lock.reset();
  waiter.join();
  EXPECT_TRUE(got);
}

TEST_F(ContentStoreTest, AHalfWrittenBlobIsResumedAfterACrash) {
  const std::string content(100'000, 'x');
  const std::string digest = oci::Sha256Digest(content);
  const auto size = static_cast<int64_t>(content.size());
  {
    const auto blob = *store_->ResumeBlob(digest, size);
    EXPECT_EQ(blob->size_bytes(), 0);
    ASSERT_TRUE(blob->Append(content.substr(0, 60'000)).ok());
  }
  EXPECT_FALSE(*store_->Has(digest, size));
  Reopen();
  {
    const auto lease = store_->NewLease();
    lease->PinBlob(digest);
    EXPECT_EQ(*store_->SweepStaged(), 0);
    const auto blob = *store_->ResumeBlob(digest, size);
    EXPECT_EQ(blob->size_bytes(), 60'000);
    ASSERT_TRUE(blob->Append(content.substr(60'000)).ok());
    ASSERT_TRUE(blob->Commit(digest, size, *lease).ok());
  }
  EXPECT_TRUE(*store_->Has(digest, size));
  EXPECT_TRUE(fs::is_empty(paths_.ContentStore() + "/staging"));
}

TEST_F(ContentStoreTest, WhatIsStagedGoesWhenItIsOfNoUse) {
  const std::string digest = oci::Sha256Digest("ab");
  const std::string staged =
      absl::StrCat(paths_.ContentStore(), "/staging/partial-", oci::DigestHex(digest).data());
  std::ofstream(staged) << "more than there should be";
  { EXPECT_EQ((*store_->ResumeBlob(digest, 2))->size_bytes(), 0); }
  EXPECT_FALSE(fs::exists(staged));  // an empty one is of no use either
  std::ofstream(staged) << "a";
  {
    const auto blob = *store_->ResumeBlob(digest, 2);
    blob->Discard();
  }
  EXPECT_FALSE(fs::exists(staged));
  std::ofstream(staged) << "a";
  EXPECT_GT(*store_->SweepStaged(), 0);
  EXPECT_FALSE(fs::exists(staged));
  std::ofstream(staged) << "a";
  fs::last_write_time(staged, fs::file_time_type::clock::now() - std::chrono::hours(24 * 8));
  Reopen();
  EXPECT_FALSE(fs::exists(staged));
}

}  // namespace
}  // namespace container::store
