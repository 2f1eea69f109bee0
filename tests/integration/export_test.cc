// Images on their way out: pushed to docker-registry and to a server that fails, saved to archives
// that skopeo, podman and docker's format read, pruned.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <mutex>
#include <random>

#include "absl/strings/match.h"
#include "base/paths.h"
#include "plugins/core_images/images/catalog.h"
#include "plugins/core_images/images/load.h"
#include "plugins/core_images/images/pull.h"
#include "plugins/core_images/images/push.h"
#include "plugins/core_images/images/save.h"
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
const oci::Platform kOther = {"linux", "s390x", ""};

std::string Noise(size_t size, unsigned seed) {
  std::string text(size, '\0');
  std::minstd_rand random(seed);
  for (char& c : text) c = static_cast<char>(random() >> 8);
  return text;
}

class ExportTest : public ::testing::Test {
 protected:
  ExportTest() : folder_(*base::TemporaryDirectory::Create()), layout_(folder_.path() + "/layout") {
    ::signal(SIGPIPE, SIG_IGN);
    store_ = OpenStore("app");
    registry_options_.retry.first_delay = std::chrono::milliseconds(5);
  }

  std::unique_ptr<store::ContentStore> OpenStore(const std::string& name) {
    const base::Paths paths = *base::Paths::Create(folder_.path() + "/" + name, folder_.path(),
                                                   folder_.path() + "/r", folder_.path() + "/log");
    return *store::ContentStore::Open(paths);
  }

  // Brings images of the layout into the store.
  void Import(const std::vector<std::pair<std::string, oci::Descriptor>>& names) {
    layout_.Name(names);
    const auto loaded = LoadInto(*store_, layout_.path());
    ASSERT_TRUE(loaded.ok()) << loaded.status();
  }

  static absl::StatusOr<std::vector<store::NamedImage>> LoadInto(store::ContentStore& store,
                                                                 const std::string& path) {
    Reporter reporter(nullptr);
    return Load(store, path, reporter, nullptr);
  }

  absl::StatusOr<store::NamedImage> Push(const std::string& reference,
                                         const std::optional<oci::Platform>& platform = {}) {
    PushOptions options;
    options.reference = reference;
    options.platform = platform;
    options.registry = registry_options_;
    Reporter reporter(nullptr);
    return images::Push(*store_, options, reporter, nullptr);
  }

  absl::StatusOr<std::vector<std::string>> Save(const std::vector<std::string>& references,
                                                const std::string& path,
                                                const std::optional<oci::Platform>& platform = {}) {
    Reporter reporter([this](const ProgressEvent& event) { events_.push_back(event); });
    images::SaveOptions options;
    options.references = references;
    options.platform = platform;
    return SaveFile(*store_, options, path, reporter, nullptr);
  }

  static std::string RemoteDigest(const std::string& reference) {
    const auto raw =
        RunTool("skopeo", {"inspect", "--raw", "--tls-verify=false", "docker://" + reference});
    return raw.ok() ? oci::Sha256Digest(*raw) : std::string(raw.status().message());
  }

  base::TemporaryDirectory folder_;
  OciLayout layout_;
  std::unique_ptr<store::ContentStore> store_;
  oci::RegistryOptions registry_options_;
  std::vector<ProgressEvent> events_;
};

TEST_F(ExportTest, PushSendsWhatTheRegistryLacks) {
  auto registry = *RegistryFixture::Start();
  const TestLayer low = layout_.Layer({{"a", Noise(200'000, 1)}});
  const TestLayer high = layout_.Layer({{"b", "high"}});
  const oci::Descriptor image = layout_.Image({low, high, low}, kHost);
  const std::string name = registry->Reference("team/app:1");
  Import({{name, image}});

  const auto pushed = Push(name);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(pushed->name, name);
  EXPECT_EQ(pushed->descriptor.digest, image.digest);
  EXPECT_EQ(RemoteDigest(name), image.digest);
  EXPECT_EQ(registry->CountRequests("PUT", "/blobs/uploads/", 3), 3);

  // Again: nothing is sent but the manifest.
  ASSERT_TRUE(Push(name).ok());
  EXPECT_EQ(registry->CountRequests("PUT", "/manifests/1", 2), 2);
  EXPECT_EQ(registry->CountRequests("PUT", "/blobs/uploads/"), 3);

  // To another repository: mounted from the first.
  const std::string other = registry->Reference("other/app:2");
  ASSERT_TRUE(images::Tag(*store_, name, other).ok());
  ASSERT_TRUE(Push(other).ok());
  EXPECT_EQ(RemoteDigest(other), image.digest);
  EXPECT_EQ(registry->CountRequests("POST", "mount=", 3), 3);
  EXPECT_EQ(registry->CountRequests("PUT", "/blobs/uploads/"), 3);

  EXPECT_EQ(Push(registry->Reference("nothing:1")).status().code(), Code::kNotFound);
  EXPECT_EQ(Push(name, kOther).status().code(), Code::kFailedPrecondition);
  registry->Stop();
  EXPECT_EQ(Push(name).status().code(), Code::kUnavailable);
}

TEST_F(ExportTest, PushOfAnIndexSendsWhatIsHere) {
  auto registry = *RegistryFixture::Start();
  const oci::Descriptor here = layout_.Image({layout_.Layer({{"arch", "here"}})}, kHost);
  const oci::Descriptor there = layout_.Image({layout_.Layer({{"arch", "there"}})}, kOther);
  const oci::Descriptor index = layout_.Index({here, there});
  const std::string all = registry->Reference("multi:all");
  Import({{all, index}});
  const auto pushed = Push(all);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(RemoteDigest(all), index.digest);

  // One platform, as asked for.
  const std::string one = registry->Reference("multi:one");
  ASSERT_TRUE(images::Tag(*store_, all, one).ok());
  ASSERT_TRUE(Push(one, kOther).ok());
  EXPECT_EQ(RemoteDigest(one), there.digest);

  // One platform, because only that is here.
  const std::string part = registry->Reference("multi:part");
  auto second = OpenStore("second");
  {
    PullOptions options;
    options.reference = *oci::Reference::Parse(all);
    options.platform = kHost;
    Reporter reporter(nullptr);
    ASSERT_TRUE(images::Pull(*second, options, reporter, nullptr).ok());
  }
  store_ = std::move(second);
  ASSERT_TRUE(images::Tag(*store_, all, part).ok());
  const auto partly = Push(part);
  ASSERT_TRUE(partly.ok()) << partly.status();
  EXPECT_EQ(partly->descriptor.digest, here.digest);
  EXPECT_EQ(RemoteDigest(part), here.digest);
}

// Uploads as a registry keeps them, with faults.
class UploadServer {
 public:
  std::atomic<int64_t> cut_after = -1;     // of the next body
  std::atomic<int64_t> largest_body = -1;  // more is refused
  std::atomic<int> busy = 0;               // so many requests are refused
  std::string challenge;                   // to requests without authorization, unless empty

  UploadServer()
      : server_([this](const TestRequest& request) { return Handle(request); },
                [this](const TestRequest& request) {
                  return absl::StrContains(request.head, "octet-stream") ? cut_after.exchange(-1)
                                                                         : -1;
                }) {}

  std::string Address() const { return server_.Address(); }
  std::string Methods() {
    std::string text;
    for (const TestRequest& request : server_.requests()) {
      if (absl::StrContains(request.path, "/blobs/uploads/")) text += request.head[1];
    }
    return text;
  }
  std::map<std::string, std::string> blobs() {
    const std::lock_guard lock(mutex_);
    return blobs_;
  }

 private:
  TestResponse Handle(const TestRequest& request) {
    const std::lock_guard lock(mutex_);
    const std::string method = request.head.substr(0, request.head.find(' '));
    if (busy > 0) {
      --busy;
      return {503, "", "{}"};
    }
    if (!challenge.empty() && request.Header("authorization").empty()) {
      return {401, "Www-Authenticate: " + challenge + "\r\n", "{}"};
    }
    if (absl::StrContains(request.path, "/manifests/")) return {201, "", ""};
    if (method == "HEAD") return {404, "", ""};
    if (method == "POST") {
      const std::string id = absl::StrCat("u", ++sessions_);
      uploads_[id] = "";
      // Relative, as some registries answer.
      return {202, "Location: /v2/app/blobs/uploads/" + id + "?state=x\r\n", ""};
    }
    std::string id = request.path.substr(request.path.rfind('/') + 1);
    id = id.substr(0, id.find('?'));
    if (!uploads_.contains(id)) return {404, "", "{}"};
    std::string& upload = uploads_[id];
    const std::string location = "Location: /v2/app/blobs/uploads/" + id + "?state=y\r\n";
    const auto range = [&] { return absl::StrCat("Range: 0-", upload.size() - 1, "\r\n"); };
    if (method == "GET") return {204, location + range(), ""};
    if (largest_body >= 0 && static_cast<int64_t>(request.body.size()) > largest_body) {
      uploads_.erase(id);
      return {413, "", "{}"};
    }
    if (method == "PATCH") {
      const std::string content_range = request.Header("content-range");
      if (std::stoull(content_range) != upload.size()) return {416, location + range(), ""};
      upload += request.body;
      return {202, location + range(), ""};
    }
    upload += request.body;
    const size_t at = request.path.find("digest=sha256%3A");
    if (at == std::string::npos) return {400, "", "{}"};
    const std::string digest = "sha256:" + request.path.substr(at + 16, 64);
    if (oci::Sha256Digest(upload) != digest) {
      // The rest may still come.
      return {400, "", R"({"errors":[{"message":"wrong digest"}]})"};
    }
    blobs_[digest] = upload;
    return {201, "", ""};
  }

  std::mutex mutex_;
  int sessions_ = 0;
  std::map<std::string, std::string> uploads_;
  std::map<std::string, std::string> blobs_;
  TestHttpServer server_;
};

TEST_F(ExportTest, ABrokenUploadGoesOnWhereItBroke) {
  UploadServer server;
  const TestLayer layer = layout_.Layer({{"a", Noise(3 << 20, 7)}});
  const std::string name = server.Address() + "/app:1";
  Import({{name, layout_.Image({layer}, kHost)}});
  // The layer is the first blob; one after the other.
  PushOptions options;
  options.reference = name;
  options.registry = registry_options_;
  options.max_concurrent_uploads = 1;
  Reporter reporter(nullptr);
  server.cut_after = 1'000'000;
  const auto pushed = images::Push(*store_, options, reporter, nullptr);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(server.blobs().at(layer.descriptor.digest),
            layout_.blobs().at(layer.descriptor.digest));
  // pOst pUt gEt pAtch pUt, then the configuration: pOst pUt.
  EXPECT_EQ(server.Methods(), "OUEAUOU");
}

TEST_F(ExportTest, ARegistryThatTakesOnlySmallRequestsGetsChunks) {
  UploadServer server;
  const TestLayer layer = layout_.Layer({{"a", Noise(12 << 20, 9)}});
  const std::string name = server.Address() + "/app:1";
  Import({{name, layout_.Image({layer}, kHost)}});
  server.largest_body = 8 << 20;
  const auto pushed = Push(name);
  ASSERT_TRUE(pushed.ok()) << pushed.status();
  EXPECT_EQ(server.blobs().size(), 2u);
  EXPECT_TRUE(absl::StrContains(server.Methods(), "A"));
  server.busy = 3;
  EXPECT_TRUE(Push(name).ok());
  server.busy = 1000;
  EXPECT_EQ(Push(name).status().code(), Code::kUnavailable);
}

TEST_F(ExportTest, TokensForAPushNameAllScopes) {
  UploadServer server;
  TestHttpServer tokens([&](const TestRequest&) -> TestResponse {
    return {200, "", R"({"token":"t","expires_in":300})"};
  });
  server.challenge =
      absl::StrCat("Bearer realm=\"http://", tokens.Address(), "/token\",service=\"reg\"");
  const TestLayer layer = layout_.Layer({{"a", "a"}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  Import({{server.Address() + "/app:1", image}});
  PushOptions options;
  options.reference = server.Address() + "/app:1";
  options.registry = registry_options_;
  options.max_concurrent_uploads = 1;
  Reporter reporter(nullptr);
  ASSERT_TRUE(images::Push(*store_, options, reporter, nullptr).ok());
  ASSERT_EQ(tokens.requests().size(), 1u);
  EXPECT_EQ(tokens.requests()[0].path, "/token?service=reg&scope=repository%3Aapp%3Apull%2Cpush");

  options.reference = server.Address() + "/other:1";
  ASSERT_TRUE(images::Tag(*store_, server.Address() + "/app:1", options.reference).ok());
  ASSERT_TRUE(images::Push(*store_, options, reporter, nullptr).ok());
  ASSERT_EQ(tokens.requests().size(), 3u);
  EXPECT_EQ(tokens.requests()[2].path,
            "/token?service=reg&scope=repository%3Aother%3Apull%2Cpush"
            "&scope=repository%3Aapp%3Apull");
}

TEST_F(ExportTest, OthersReadWhatIsSaved) {
  const TestLayer shared = layout_.Layer({{"a", Noise(100'000, 3)}});
  const oci::Descriptor one = layout_.Image({shared}, kHost);
  const oci::Descriptor two = layout_.Image({shared, layout_.Layer({{"b", "b"}})}, kHost);
  Import({{"docker.io/library/one:1", one},
          {"docker.io/library/one:latest", one},
          {"quay.io/team/two:2", two}});
  const std::string archive = folder_.path() + "/out.tar";
  const auto saved = Save({"one:1", "one", "quay.io/team/two:2", "one:1"}, archive);
  ASSERT_TRUE(saved.ok()) << saved.status();
  EXPECT_EQ(saved->size(), 3u);
  EXPECT_TRUE(events_.back().done);
  EXPECT_EQ(events_.back().completed_bytes, events_.back().total_bytes);
  struct stat info;
  ASSERT_EQ(::stat(archive.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);

  // The same images, the same bytes.
  ASSERT_TRUE(Save({"one:1", "one", "quay.io/team/two:2"}, folder_.path() + "/again.tar").ok());
  EXPECT_EQ(oci::Sha256Digest(*base::ReadFile(archive)),
            oci::Sha256Digest(*base::ReadFile(folder_.path() + "/again.tar")));

  // Ours.
  auto other = OpenStore("other");
  const auto loaded = LoadInto(*other, archive);
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  EXPECT_EQ(other->Find("docker.io/library/one:1")->descriptor.digest, one.digest);
  EXPECT_EQ(other->Find("docker.io/library/one:latest")->descriptor.digest, one.digest);
  EXPECT_EQ(other->Find("quay.io/team/two:2")->descriptor.digest, two.digest);

  // Skopeo, both forms.
  const auto oci_form =
      RunTool("skopeo", {"inspect", "--raw", "oci-archive:" + archive + ":quay.io/team/two:2"});
  ASSERT_TRUE(oci_form.ok()) << oci_form.status();
  EXPECT_EQ(oci::Sha256Digest(*oci_form), two.digest);
  for (const char* tag :
       {"docker.io/library/one:1", "docker.io/library/one:latest", "quay.io/team/two:2"}) {
    const auto docker_form = RunTool("skopeo", {"copy", "--quiet", "--insecure-policy",
                                                absl::StrCat("docker-archive:", archive, ":", tag),
                                                absl::StrCat("oci:", folder_.path(), "/copy:x")});
    EXPECT_TRUE(docker_form.ok()) << docker_form.status();
  }

  // Podman, without touching its own storage.
  const std::vector<std::string> podman = {"--root",           folder_.path() + "/podman",
                                           "--runroot",        folder_.path() + "/podman-run",
                                           "--storage-driver", "vfs"};
  auto arguments = podman;
  arguments.insert(arguments.end(), {"load", "-q", "-i", archive});
  const auto podman_loaded = RunTool("podman", arguments);
  ASSERT_TRUE(podman_loaded.ok()) << podman_loaded.status();
  EXPECT_TRUE(absl::StrContains(*podman_loaded, "two:2")) << *podman_loaded;
  EXPECT_TRUE(absl::StrContains(*podman_loaded, "one:1")) << *podman_loaded;
}

TEST_F(ExportTest, SaveOfAnIndexKeepsItsDigest) {
  const oci::Descriptor here = layout_.Image({layout_.Layer({{"arch", "here"}})}, kHost);
  const oci::Descriptor there = layout_.Image({layout_.Layer({{"arch", "there"}})}, kOther);
  const oci::Descriptor index = layout_.Index({here, there});
  Import({{"docker.io/team/multi:1", index}});
  const std::string archive = folder_.path() + "/out.tar";
  ASSERT_TRUE(Save({"team/multi:1"}, archive).ok());
  auto other = OpenStore("other");
  ASSERT_TRUE(LoadInto(*other, archive).ok());
  EXPECT_EQ(other->Find("docker.io/team/multi:1")->descriptor.digest, index.digest);

  ASSERT_TRUE(Save({"team/multi:1"}, archive, kOther).ok());
  auto third = OpenStore("third");
  ASSERT_TRUE(LoadInto(*third, archive).ok());
  EXPECT_EQ(third->Find("docker.io/team/multi:1")->descriptor.digest, there.digest);
  EXPECT_EQ(Save({"team/multi:1"}, archive, oci::Platform{"linux", "riscv64", ""}).status().code(),
            Code::kFailedPrecondition);
}

TEST_F(ExportTest, SaveLeavesNothingHalfDone) {
  const TestLayer layer = layout_.Layer({{"a", Noise(100'000, 5)}});
  Import({{"docker.io/team/app:1", layout_.Image({layer}, kHost)}});
  const std::string out = folder_.path() + "/out";
  ASSERT_TRUE(base::MakeDirectories(out).ok());
  EXPECT_EQ(Save({"nothing"}, out + "/a.tar").status().code(), Code::kNotFound);
  EXPECT_EQ(Save({"team/app:1"}, out + "/no/a.tar").status().code(), Code::kNotFound);
  EXPECT_FALSE(Save({"team/app:1"}, out).ok());
  EXPECT_TRUE(Save({"team/app:1"}, "/dev/null").ok());
  {
    std::string bytes = layout_.blobs().at(layer.descriptor.digest);
    bytes[5000] ^= 1;
    ASSERT_TRUE(base::WriteFileAtomically(store_->BlobPath(layer.descriptor.digest), bytes).ok());
  }
  EXPECT_EQ(Save({"team/app:1"}, out + "/a.tar").status().code(), Code::kDataLoss);
  EXPECT_TRUE(fs::is_empty(out));
}

TEST_F(ExportTest, PruneKeepsWhatContainersUse) {
  const oci::Descriptor one = layout_.Image({layout_.Layer({{"a", "1"}})}, kHost);
  const oci::Descriptor two = layout_.Image({layout_.Layer({{"a", "2"}})}, kHost);
  const oci::Descriptor three = layout_.Image({layout_.Layer({{"a", "3"}})}, kHost);
  const oci::Descriptor nameless = layout_.Image({layout_.Layer({{"a", "4"}})}, kHost);
  Import({{"docker.io/library/one:1", one},
          {"quay.io/team/two:2", two},
          {"quay.io/team/three:3", three},
          {"", nameless}});
  const auto prune = [&](const PruneOptions& options) {
    const auto pruned = Prune(*store_, options);
    EXPECT_TRUE(pruned.ok()) << pruned.status();
    EXPECT_GT(pruned->reclaimed_bytes, 0);
    return pruned->names;
  };
  EXPECT_EQ(prune({}), (std::vector<std::string>{"untagged@" + nameless.digest}));
  EXPECT_EQ(prune({true, {"one:1"}, {two.digest}}),
            (std::vector<std::string>{"quay.io/team/three:3"}));
  EXPECT_EQ(store_->List().size(), 2u);
  EXPECT_EQ(prune({true, {}, {}}).size(), 2u);
  EXPECT_TRUE(fs::is_empty(folder_.path() + "/app/content/blobs/sha256"));
}

}  // namespace
}  // namespace container::images
