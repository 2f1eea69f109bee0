// The image helper's work against real registries and tools: Debian's docker-registry, skopeo,
// fsck.erofs. The library is driven directly; images_helper_test.cc drives the program.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "base/paths.h"
#include "plugins/core_images/archive/tar_builder.h"
#include "plugins/core_images/images/catalog.h"
#include "plugins/core_images/images/load.h"
#include "plugins/core_images/images/pull.h"
#include "tests/integration/http_server.h"
#include "tests/integration/oci_layout.h"
#include "tests/integration/registry_fixture.h"

namespace container::images {
namespace {

namespace fs = std::filesystem;
using Code = absl::StatusCode;
using testing::OciLayout;
using testing::RegistryFixture;
using testing::RunTool;
using testing::TestHttpServer;
using testing::TestLayer;
using testing::TestRequest;
using testing::TestResponse;

const oci::Platform kHost = oci::Platform::Host();
// Another platform than the host's, whatever that is.
const oci::Platform kOther = {"linux", "s390x", ""};

std::string SharedImage(const std::string& name) {
  const char* source = std::getenv("CONTAINER_SOURCE_DIR");
  const std::string path =
      absl::StrCat(source == nullptr ? "." : source, "/../shared/images/", name);
  return fs::exists(path) ? path : "";
}

// Retries without the waiting.
oci::RegistryOptions QuickOptions() {
  oci::RegistryOptions options;
  options.retry.first_delay = std::chrono::milliseconds(5);
  return options;
}

class CoreImagesTest : public ::testing::Test {
 protected:
  CoreImagesTest()
      : folder_(*base::TemporaryDirectory::Create()),
        paths_(*base::Paths::Create(folder_.path() + "/app", folder_.path(), folder_.path() + "/r",
                                    folder_.path() + "/log")),
        store_(*store::ContentStore::Open(paths_)),
        layout_(folder_.path() + "/layout") {}

  absl::StatusOr<store::NamedImage> Pull(const std::string& text,
                                         const oci::Platform& platform = kHost) {
    PullOptions options;
    ASSIGN_OR_RETURN(options.reference, oci::Reference::Parse(text));
    options.platform = platform;
    options.registry = registry_options_;
    Reporter reporter([this](const ProgressEvent& event) { events_.push_back(event); });
    return images::Pull(*store_, options, reporter, nullptr);
  }

  absl::StatusOr<std::vector<store::NamedImage>> Load(const std::string& path) {
    Reporter reporter(nullptr);
    return images::Load(*store_, path, reporter, nullptr);
  }

  absl::StatusOr<Root> Prepare(const std::string& text, const oci::Platform& platform = kHost) {
    Reporter reporter(nullptr);
    return PrepareRoot(*store_, text, platform, reporter, nullptr);
  }

  // The registry's own image, pushed as `name`.
  void Serve(RegistryFixture& registry, const oci::Descriptor& image, const std::string& name) {
    layout_.Name({{"served", image}});
    const absl::Status filled = registry.Fill("oci:" + layout_.path() + ":served", name);
    ASSERT_TRUE(filled.ok()) << filled;
  }

  static size_t Count(const std::string& folder) {
    size_t count = 0;
    if (!fs::exists(folder)) return 0;
    for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder)) ++count;
    return count;
  }
  size_t Blobs() const { return Count(paths_.ContentStore() + "/blobs/sha256"); }
  size_t Roots() const { return Count(paths_.RootFilesystems()); }

  // Nothing in the store is other than its name says, nothing is half-done.
  void ExpectSoundStore() const {
    for (const auto& entry : fs::directory_iterator(paths_.ContentStore() + "/blobs/sha256")) {
      const auto content = base::ReadFile(entry.path(), 1 << 30);
      EXPECT_EQ(oci::DigestHex(oci::Sha256Digest(*content)), entry.path().filename().string());
    }
    for (const auto& entry : fs::directory_iterator(paths_.ContentStore() + "/staging")) {
      EXPECT_TRUE(absl::StartsWith(entry.path().filename().string(), "partial-")) << entry;
    }
    for (const auto& entry : fs::directory_iterator(paths_.RootFilesystems())) {
      const auto checked = RunTool("fsck.erofs", {entry.path()});
      EXPECT_TRUE(checked.ok()) << checked.status();
    }
  }

  std::string Extracted(const std::string& root, const std::string& file) {
    const std::string target = folder_.path() + "/extracted";
    fs::remove_all(target);
    const auto result = RunTool("fsck.erofs", {"--extract=" + target, root});
    EXPECT_TRUE(result.ok()) << result.status();
    return base::ReadFile(target + "/" + file).value_or("missing");
  }

  base::TemporaryDirectory folder_;
  base::Paths paths_;
  std::unique_ptr<store::ContentStore> store_;
  OciLayout layout_;
  std::vector<ProgressEvent> events_;
  oci::RegistryOptions registry_options_ = QuickOptions();
};

TEST_F(CoreImagesTest, PullReadiesARoot) {
  auto registry = *RegistryFixture::Start();
  const TestLayer low = layout_.Layer({{"a", "low"}, {"b", "low"}});
  const TestLayer high = layout_.Layer({{"b", "high"}});
  Serve(*registry, layout_.Image({low, high, low}, kHost), "team/app:1");

  const auto image = Pull(registry->Reference("team/app:1"));
  ASSERT_TRUE(image.ok()) << image.status();
  EXPECT_EQ(image->name, registry->Reference("team/app:1"));
  std::set<std::string> done;
  for (const ProgressEvent& event : events_) {
    if (event.done) done.insert(event.description.substr(0, event.description.find(' ')));
  }
  EXPECT_EQ(done, (std::set<std::string>{"Resolving", "Fetching", "Unpacking"}));

  const auto root = Prepare(registry->Reference("team/app:1"));
  ASSERT_TRUE(root.ok()) << root.status();
  EXPECT_EQ(root->variant.platform, kHost);
  EXPECT_EQ(Extracted(root->path, "a"), "low");
  EXPECT_EQ(Extracted(root->path, "b"), "low");  // the third layer is the first again

  const auto json = nlohmann::json::parse(ImageJson(*store_, *image));
  EXPECT_EQ(json["id"], oci::DigestHex(image->descriptor.digest).data());
  EXPECT_EQ(json["configuration"]["name"], image->name);
  EXPECT_EQ(json["configuration"]["creationDate"], "2024-05-06T07:08:09Z");
  EXPECT_EQ(json["configuration"]["descriptor"]["digest"], image->descriptor.digest);
  ASSERT_EQ(json["variants"].size(), 1u);
  EXPECT_EQ(json["variants"][0]["platform"]["os"], "linux");
  EXPECT_EQ(json["variants"][0]["config"]["config"]["Cmd"][0], "/bin/sh");
  EXPECT_GT(json["variants"][0]["size"], low.descriptor.size_bytes * 2);
  ExpectSoundStore();

  // Others can read the store.
  const auto inspected =
      RunTool("skopeo", {"inspect", "--raw", "oci:" + paths_.ContentStore() + ":" + image->name});
  ASSERT_TRUE(inspected.ok()) << inspected.status();
  EXPECT_EQ(oci::Sha256Digest(*inspected), image->descriptor.digest);
}

TEST_F(CoreImagesTest, PullOfAnIndexTakesThePlatformAskedFor) {
  auto registry = *RegistryFixture::Start();
  const oci::Descriptor here = layout_.Image({layout_.Layer({{"arch", "here"}})}, kHost);
  const oci::Descriptor there = layout_.Image({layout_.Layer({{"arch", "there"}})}, kOther);
  Serve(*registry, layout_.Index({there, here}), "multi:1");
  const std::string name = registry->Reference("multi:1");

  ASSERT_TRUE(Pull(name).ok());
  EXPECT_EQ(Blobs(), 4u);  // index, manifest, configuration, layer
  EXPECT_EQ(Extracted(Prepare(name)->path, "arch"), "here");
  EXPECT_EQ(Prepare(name, kOther).status().code(), Code::kNotFound);

  ASSERT_TRUE(Pull(name, kOther).ok());
  EXPECT_EQ(Extracted(Prepare(name, kOther)->path, "arch"), "there");
  EXPECT_EQ(nlohmann::json::parse(ImageJson(*store_, *store_->Find(name)))["variants"].size(), 2u);

  const auto none = Pull(name, {"linux", "riscv64", ""});
  EXPECT_EQ(none.status().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(none.status().message(), "linux/s390x")) << none.status();

  // By digest, with and without the tag.
  const std::string digest = store_->Find(name)->descriptor.digest;
  const auto by_digest = Pull(registry->Reference("multi@" + digest));
  ASSERT_TRUE(by_digest.ok()) << by_digest.status();
  EXPECT_TRUE(FindImage(*store_, registry->Reference("multi:1@" + digest)).ok());
}

TEST_F(CoreImagesTest, IndexesMayNestButNotForEver) {
  oci::Descriptor entry = layout_.Image({layout_.Layer({{"a", "a"}})}, kHost);
  entry = layout_.Index({entry});
  const oci::Descriptor nested = layout_.Index({entry});
  layout_.Name({{"docker.io/team/nested:1", nested}});
  const auto loaded = Load(layout_.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_TRUE(Prepare("team/nested:1").ok());
  for (int i = 0; i < 8; ++i) entry = layout_.Index({entry});
  layout_.Name({{"docker.io/team/deep:1", entry}});
  EXPECT_EQ(Load(layout_.path()).status().code(), Code::kResourceExhausted);
}

// As stargz-snapshotter lays them out: a gzip member for each chunk, the table of contents as a
// file of the tar, and an empty member whose extra field says where that is.
TEST_F(CoreImagesTest, EstargzIsGzip) {
  archive::TarBuilder tar;
  tar.File("etc/one", std::string(3000, '1'));
  tar.File("stargz.index.json", R"({"version":1,"entries":[]})");
  const std::string bytes = tar.Finish();
  std::string blob;
  for (size_t at = 0; at < bytes.size(); at += 2048) {
    const std::string part = layout_.path() + "/part";
    ASSERT_TRUE(base::WriteFileAtomically(part, bytes.substr(at, 2048)).ok());
    blob += RunTool("gzip", {"-n", "-c", part}).value_or("");
  }
  blob += std::string("\x1f\x8b\x08\x04\0\0\0\0\0\xff\x1a\0SG\x16\0", 16) +
          "0000000000000400STARGZ" + std::string("\x01\0\0\xff\xff\0\0\0\0\0\0\0\0", 13);
  const TestLayer layer{layout_.Blob(blob, oci::kOciLayerGzip), oci::Sha256Digest(bytes)};
  layout_.Name({{"docker.io/team/lazy:1", layout_.Image({layer}, kHost)}});
  const auto loaded = Load(layout_.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const auto root = Prepare("team/lazy:1");
  EXPECT_TRUE(root.ok()) << root.status();
}

TEST_F(CoreImagesTest, ALayerThatHasGoneBadIsPulledAgain) {
  auto registry = *RegistryFixture::Start();
  const TestLayer layer = layout_.Layer({{"a", std::string(50000, 'a')}});
  Serve(*registry, layout_.Image({layer}, kHost), "app:1");
  const std::string name = registry->Reference("app:1");
  ASSERT_TRUE(Pull(name).ok());
  fs::remove(Prepare(name)->path);
  const std::string file = store_->BlobPath(layer.descriptor.digest);
  std::string content = *base::ReadFile(file);
  content[content.size() / 2] ^= 1;
  std::ofstream(file, std::ios::binary) << content;

  EXPECT_EQ(Prepare(name).status().code(), Code::kDataLoss);
  EXPECT_FALSE(fs::exists(file));
  EXPECT_EQ(Prepare(name).status().code(), Code::kNotFound);
  ASSERT_TRUE(Pull(name).ok());
  EXPECT_EQ(Extracted(Prepare(name)->path, "a"), std::string(50000, 'a'));
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, ASingleManifestForAnotherMachineIsRefused) {
  auto registry = *RegistryFixture::Start();
  Serve(*registry, layout_.Image({layout_.Layer({{"a", "a"}})}, kOther), "other:1");
  const auto image = Pull(registry->Reference("other:1"));
  EXPECT_EQ(image.status().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(image.status().message(), "is for linux/s390x")) << image.status();
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(CoreImagesTest, LayersThatAreHereAreNotFetchedAgain) {
  auto registry = *RegistryFixture::Start();
  const TestLayer shared = layout_.Layer({{"shared", std::string(100000, 's')}});
  const TestLayer own = layout_.Layer({{"own", "own"}});
  Serve(*registry, layout_.Image({shared}, kHost), "one:1");
  Serve(*registry, layout_.Image({shared, own}, kHost), "two:1");
  ASSERT_TRUE(Pull(registry->Reference("one:1")).ok());
  ASSERT_TRUE(Pull(registry->Reference("two:1")).ok());
  ASSERT_TRUE(Pull(registry->Reference("two:1")).ok());
  EXPECT_EQ(registry->CountRequests("GET", "/blobs/" + own.descriptor.digest, 1), 1);
  EXPECT_EQ(registry->CountRequests("GET", "/blobs/" + shared.descriptor.digest, 1), 1);
}

TEST_F(CoreImagesTest, TwoPullsAtOnceShareADownload) {
  auto registry = *RegistryFixture::Start();
  const TestLayer layer = layout_.Layer({{"f", std::string(3000000, 'f')}});
  Serve(*registry, layout_.Image({layer}, kHost), "app:1");
  const auto pull = [&] {
    PullOptions options;
    options.reference = *oci::Reference::Parse(registry->Reference("app:1"));
    options.platform = kHost;
    Reporter reporter(nullptr);
    const auto image = images::Pull(*store_, options, reporter, nullptr);
    EXPECT_TRUE(image.ok()) << image.status();
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(pull);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(registry->CountRequests("GET", "/blobs/" + layer.descriptor.digest, 1), 1);
  EXPECT_EQ(Roots(), 1u);
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, ADamagedBlobIsRefusedAndALaterPullSucceeds) {
  auto registry = *RegistryFixture::Start();
  const TestLayer good = layout_.Layer({{"a", "good"}});
  const TestLayer bad = layout_.Layer({{"b", std::string(50000, 'b')}});
  Serve(*registry, layout_.Image({good, bad}, kHost), "app:1");
  const std::string file = registry->BlobFile(bad.descriptor.digest);
  const std::string content = *base::ReadFile(file);
  std::string damaged = content;
  damaged[damaged.size() / 2] ^= 1;
  std::ofstream(file, std::ios::binary) << damaged;

  const auto image = Pull(registry->Reference("app:1"));
  EXPECT_EQ(image.status().code(), Code::kDataLoss) << image.status();
  EXPECT_TRUE(absl::StrContains(image.status().message(), bad.descriptor.digest.substr(7, 12)));
  EXPECT_TRUE(store_->List().empty());
  EXPECT_FALSE(*store_->Has(bad.descriptor.digest, bad.descriptor.size_bytes));
  EXPECT_EQ(Roots(), 0u);
  ExpectSoundStore();

  std::ofstream(file, std::ios::binary) << content;
  EXPECT_TRUE(Pull(registry->Reference("app:1")).ok());
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, AWrongDiffIdNamesTheLayer) {
  auto registry = *RegistryFixture::Start();
  TestLayer layer = layout_.Layer({{"a", "a"}});
  layer.diff_id = oci::Sha256Digest("something else");
  Serve(*registry, layout_.Image({layer}, kHost), "app:1");
  const auto image = Pull(registry->Reference("app:1"));
  EXPECT_EQ(image.status().code(), Code::kDataLoss);
  EXPECT_TRUE(absl::StrContains(image.status().message(), layer.descriptor.digest.substr(7, 12)))
      << image.status();
  EXPECT_EQ(Roots(), 0u);
  EXPECT_TRUE(store_->List().empty());
}

TEST_F(CoreImagesTest, ErrorsOfTheRegistryAreClear) {
  auto registry = *RegistryFixture::Start();
  Serve(*registry, layout_.Image({layout_.Layer({{"a", "a"}})}, kHost), "app:1");
  const auto unknown_tag = Pull(registry->Reference("app:2"));
  EXPECT_EQ(unknown_tag.status().code(), Code::kNotFound) << unknown_tag.status();
  EXPECT_EQ(Pull(registry->Reference("nothing:1")).status().code(), Code::kNotFound);
  registry->Stop();
  const auto down = Pull(registry->Reference("app:1"));
  EXPECT_EQ(down.status().code(), Code::kUnavailable);
  EXPECT_TRUE(absl::StrContains(down.status().message(), "check that the registry is running"))
      << down.status();
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, AnAnonymousTokenIsFetchedAndRedirectsDoNotCarryIt) {
  const oci::Descriptor image = layout_.Image({layout_.Layer({{"a", "a"}})}, kHost);
  std::string token_query;
  TestHttpServer* self = nullptr;
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    if (absl::StartsWith(request.path, "/token?")) {
      token_query = request.path;
      return {200, "", R"({"token":"secret"})"};
    }
    const bool elsewhere = absl::StartsWith(request.path, "/elsewhere/");
    if (elsewhere) {
      EXPECT_EQ(request.Header("authorization"), "");
      return {200, "", layout_.blobs().at(request.path.substr(11))};
    }
    if (request.Header("authorization") != "Bearer secret") {
      return {401,
              absl::StrCat("Www-Authenticate: Bearer realm=\"http://", self->Address(),
                           "/token\",service=\"reg\"\r\n"),
              "{}"};
    }
    if (absl::StartsWith(request.path, "/v2/app/manifests/1")) {
      return {200, absl::StrCat("Content-Type: ", oci::kOciManifest, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    const std::string digest = request.path.substr(request.path.rfind('/') + 1);
    return {307,
            absl::StrCat("Location: http://", self->OtherAddress(), "/elsewhere/", digest, "\r\n"),
            ""};
  });
  self = &server;
  const auto pulled = Pull(server.Address() + "/app:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(token_query, "/token?service=reg&scope=repository%3Aapp%3Apull");
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, ServersThatMisbehaveAreRefused) {
  const TestLayer layer = layout_.Layer({{"a", std::string(10000, 'a')}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  enum class Fault { kLong, kShort, kCut, kLoop, kHugeManifest, kDenied, kLogin, kBusy, kBroken };
  Fault fault = Fault::kLong;
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    if (fault == Fault::kLoop) return {302, "Location: " + request.path + "\r\n", ""};
    if (fault == Fault::kHugeManifest) return {200, "", std::string(5 << 20, ' ')};
    if (fault == Fault::kDenied) return {403, "", "{}"};
    if (fault == Fault::kLogin) return {401, "Www-Authenticate: Basic realm=x\r\n", ""};
    if (fault == Fault::kBusy) return {429, "", R"({"errors":[{"message":"slow\ndown"}]})"};
    if (fault == Fault::kBroken) return {500, "", std::string(1 << 20, 'x')};
    if (absl::StrContains(request.path, "/manifests/")) {
      return {200, absl::StrCat("Content-Type: ", oci::kOciManifest, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    const std::string digest = request.path.substr(request.path.rfind('/') + 1);
    std::string body = layout_.blobs().at(digest);
    if (digest != layer.descriptor.digest) return {200, "", body};
    if (fault == Fault::kLong) return {200, "", body + "x"};
    if (fault == Fault::kShort) return {200, "", body.substr(1)};
    TestResponse cut{200, "", body.substr(1)};
    cut.claimed_bytes = static_cast<int64_t>(body.size());
    return cut;
  });
  const auto code = [&](Fault next) {
    fault = next;
    const auto pulled = Pull(server.Address() + "/app:1");
    return pulled.status().code();
  };
  EXPECT_EQ(code(Fault::kLong), Code::kDataLoss);
  EXPECT_EQ(code(Fault::kShort), Code::kDataLoss);
  EXPECT_EQ(code(Fault::kCut), Code::kUnavailable);
  EXPECT_EQ(code(Fault::kLoop), Code::kUnavailable);
  EXPECT_EQ(code(Fault::kHugeManifest), Code::kResourceExhausted);
  EXPECT_EQ(code(Fault::kDenied), Code::kPermissionDenied);
  EXPECT_EQ(code(Fault::kLogin), Code::kUnauthenticated);
  EXPECT_EQ(code(Fault::kBusy), Code::kResourceExhausted);
  EXPECT_EQ(code(Fault::kBroken), Code::kUnavailable);
  EXPECT_TRUE(store_->List().empty());
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, APullCanBeCancelled) {
  const TestLayer layer = layout_.Layer({{"a", std::string(10000, 'a')}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  std::atomic<bool> stalled = false;
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    if (absl::StrContains(request.path, "/manifests/")) {
      return {200, absl::StrCat("Content-Type: ", oci::kOciManifest, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    const std::string digest = request.path.substr(request.path.rfind('/') + 1);
    TestResponse response{200, "", layout_.blobs().at(digest)};
    if (digest == layer.descriptor.digest) {
      response.hang_after_bytes = 10;
      stalled = true;
    }
    return response;
  });
  PullOptions options;
  options.reference = *oci::Reference::Parse(server.Address() + "/app:1");
  options.platform = kHost;
  Reporter reporter(nullptr);
  const auto pulled = images::Pull(*store_, options, reporter, [&] { return stalled.load(); });
  EXPECT_EQ(pulled.status().code(), Code::kCancelled) << pulled.status();
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, DeleteKeepsWhatOthersUse) {
  auto registry = *RegistryFixture::Start();
  const TestLayer shared = layout_.Layer({{"shared", "shared"}});
  const TestLayer own = layout_.Layer({{"own", "own"}});
  Serve(*registry, layout_.Image({shared}, kHost), "one:1");
  Serve(*registry, layout_.Image({shared, own}, kHost), "two:1");
  const std::string one = registry->Reference("one:1");
  const std::string two = registry->Reference("two:1");
  ASSERT_TRUE(Pull(one).ok());
  ASSERT_TRUE(Pull(two).ok());
  ASSERT_TRUE(images::Tag(*store_, two, "alias").ok());
  EXPECT_TRUE(store_->Find("docker.io/library/alias:latest").has_value());

  const std::string kept = folder_.path() + "/container.erofs";
  ASSERT_EQ(::link(Prepare(two)->path.c_str(), kept.c_str()), 0);
  const std::string digits = store_->Find(two)->descriptor.digest.substr(7, 12);
  EXPECT_EQ(images::Delete(*store_, digits).status().code(), Code::kFailedPrecondition);
  const auto first = images::Delete(*store_, "alias");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->name, "docker.io/library/alias:latest");
  EXPECT_EQ(first->reclaimed_bytes, 0);
  const auto second = images::Delete(*store_, digits);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->name, two);
  EXPECT_GT(second->reclaimed_bytes, 0);
  EXPECT_EQ(Blobs(), 3u);
  EXPECT_EQ(Roots(), 1u);
  EXPECT_EQ(Extracted(kept, "own"), "own");
  EXPECT_EQ(Extracted(Prepare(one)->path, "shared"), "shared");
  EXPECT_EQ(images::Delete(*store_, two).status().code(), Code::kNotFound);
  EXPECT_EQ(images::Delete(*store_, "0123456789ab").status().code(), Code::kNotFound);
  EXPECT_EQ(images::Delete(*store_, "Bad Name").status().code(), Code::kInvalidArgument);
  ASSERT_TRUE(images::Delete(*store_, one).ok());
  EXPECT_EQ(Blobs(), 0u);
  EXPECT_EQ(Roots(), 0u);
}

TEST_F(CoreImagesTest, LoadsWhatSkopeoWrites) {
  const oci::Descriptor image =
      layout_.Image({layout_.Layer({{"a", "low"}}), layout_.Layer({{"a", "high"}})}, kHost);
  layout_.Name({{"docker.io/team/app:1", image}});
  const std::string source = "oci:" + layout_.path() + ":docker.io/team/app:1";
  const std::string oci_archive = folder_.path() + "/oci.tar";
  const std::string docker_archive = folder_.path() + "/docker.tar";
  ASSERT_TRUE(RunTool("skopeo", {"copy", "--insecure-policy", source,
                                 "oci-archive:" + oci_archive + ":docker.io/team/oci:1"})
                  .ok());
  ASSERT_TRUE(RunTool("skopeo", {"copy", "--insecure-policy", source,
                                 "docker-archive:" + docker_archive + ":team/docker:1",
                                 "--additional-tag", "team/docker:2"})
                  .ok());
  ASSERT_TRUE(RunTool("gzip", {"-k", docker_archive}).ok());
  ASSERT_TRUE(RunTool("zstd", {"-q", oci_archive}).ok());

  auto loaded = Load(oci_archive);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->size(), 1u);
  EXPECT_EQ(loaded->front().name, "docker.io/team/oci:1");
  EXPECT_EQ(Extracted(Prepare("team/oci:1")->path, "a"), "high");
  loaded = Load(oci_archive + ".zst");
  ASSERT_TRUE(loaded.ok()) << loaded.status();

  for (const std::string& file : {docker_archive, docker_archive + ".gz"}) {
    loaded = Load(file);
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    ASSERT_EQ(loaded->size(), 2u);
    EXPECT_EQ((*loaded)[0].name, "docker.io/team/docker:1");
    EXPECT_EQ((*loaded)[1].name, "docker.io/team/docker:2");
  }
  // The same layers, so the same root.
  EXPECT_EQ(Prepare("team/docker:2")->path, Prepare("team/oci:1")->path);

  loaded = Load(layout_.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->front().name, "docker.io/team/app:1");
  EXPECT_EQ(loaded->front().descriptor.digest, image.digest);
  ExpectSoundStore();
}

TEST_F(CoreImagesTest, LoadsImagesWithoutNamesAndForOtherMachines) {
  const oci::Descriptor here = layout_.Image({layout_.Layer({{"a", "here"}})}, kHost);
  const oci::Descriptor there = layout_.Image({layout_.Layer({{"a", "there"}})}, kOther);
  layout_.Name({{"", here}, {"latest", there}});
  const auto loaded = Load(layout_.path());
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->size(), 2u);
  EXPECT_EQ((*loaded)[0].name, "untagged@" + here.digest);
  EXPECT_EQ((*loaded)[1].name, "untagged@" + there.digest);
  EXPECT_TRUE(Prepare("untagged@" + here.digest).ok());
  EXPECT_EQ(Prepare(there.digest).status().code(), Code::kFailedPrecondition);
  EXPECT_TRUE(Prepare(there.digest, kOther).ok());
  EXPECT_TRUE(images::Delete(*store_, "untagged@" + here.digest).ok());
}

TEST_F(CoreImagesTest, ABadArchiveLeavesNothing) {
  const TestLayer layer = layout_.Layer({{"a", std::string(200000, 'a')}, {"b", "b"}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  layout_.Name({{"docker.io/team/app:1", image}});
  const std::string archive = folder_.path() + "/good.tar";
  ASSERT_TRUE(
      RunTool("tar", {"-C", layout_.path(), "-cf", archive, "oci-layout", "blobs", "index.json"})
          .ok());
  const std::string good = *base::ReadFile(archive);
  const auto load = [&](const std::string& bytes) {
    const std::string file = folder_.path() + "/bad.tar";
    std::ofstream(file, std::ios::binary) << bytes;
    const auto loaded = Load(file);
    EXPECT_TRUE(store_->List().empty());
    EXPECT_EQ(Blobs(), 0u) << loaded.status();
    ExpectSoundStore();
    return loaded.status();
  };
  EXPECT_EQ(load("").code(), Code::kInvalidArgument);
  EXPECT_FALSE(load("this is no archive").ok());
  const size_t layer_at = good.find(layout_.blobs().at(layer.descriptor.digest));
  EXPECT_EQ(load(good.substr(0, layer_at + 100)).code(), Code::kDataLoss);
  EXPECT_EQ(load(good.substr(0, layer_at - 100)).code(), Code::kDataLoss);
  EXPECT_EQ(load(good.substr(0, good.rfind("index.json"))).code(), Code::kInvalidArgument);
  std::string damaged = good;
  damaged[layer_at + 50] ^= 1;
  const absl::Status status = load(damaged);
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_TRUE(absl::StrContains(status.message(), layer.descriptor.digest)) << status;

  // A layer is missing.
  fs::remove(absl::StrCat(layout_.path(), "/blobs/sha256/",
                          std::string(oci::DigestHex(layer.descriptor.digest))));
  EXPECT_EQ(Load(layout_.path()).status().code(), Code::kInvalidArgument);
  ASSERT_TRUE(RunTool("tar", {"-C", layout_.path(), "-cf", archive, "."}).ok());
  EXPECT_EQ(load(*base::ReadFile(archive)).code(), Code::kInvalidArgument);
  EXPECT_EQ(Load(folder_.path() + "/nothing").status().code(), Code::kNotFound);
  EXPECT_EQ(Load(folder_.path()).status().code(), Code::kInvalidArgument);
}

TEST_F(CoreImagesTest, LoadsTheOfficialBusybox) {
  const std::string archive = SharedImage("busybox-1.38.0-glibc-amd64.oci.tar");
  if (archive.empty()) GTEST_SKIP() << "the image is not on this machine";
  const auto loaded = Load(archive);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(loaded->front().name, "docker.io/library/busybox:1.38.0");
  EXPECT_TRUE(Prepare("busybox:1.38.0", *oci::Platform::Parse("linux/amd64")).ok());
  ExpectSoundStore();
}

}  // namespace
}  // namespace container::images
