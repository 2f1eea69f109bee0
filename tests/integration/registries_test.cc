// Registries that want a login, fail, stall, or are mirrors of others: what the image helper does
// with Debian's docker-registry in several configurations and with servers of the test's own.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "base/paths.h"
#include "plugins/core_images/images/catalog.h"
#include "plugins/core_images/images/pull.h"
#include "plugins/core_images/oci/upload.h"
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

// What gzip can't make smaller.
std::string Noise(size_t size) {
  std::string text(size, '\0');
  std::minstd_rand random(4711);
  for (char& c : text) c = static_cast<char>(random() >> 8);
  return text;
}

class RegistriesTest : public ::testing::Test {
 protected:
  RegistriesTest()
      : folder_(*base::TemporaryDirectory::Create()),
        paths_(*base::Paths::Create(folder_.path() + "/app", folder_.path(), folder_.path() + "/r",
                                    folder_.path() + "/log")),
        store_(*store::ContentStore::Open(paths_)),
        layout_(folder_.path() + "/layout"),
        credentials_(std::make_shared<oci::CredentialStore>(folder_.path() + "/auth.json", "")) {
    ::signal(SIGPIPE, SIG_IGN);
    options_.retry.first_delay = std::chrono::milliseconds(5);
    options_.credentials = credentials_;
  }

  absl::StatusOr<store::NamedImage> Pull(const std::string& text,
                                         const Cancelled& cancelled = nullptr) {
    PullOptions options;
    ASSIGN_OR_RETURN(options.reference, oci::Reference::Parse(text));
    options.platform = kHost;
    options.registry = options_;
    Reporter reporter(nullptr);
    return images::Pull(*store_, options, reporter, cancelled);
  }

  // Forgets all images and their content, but not what is staged.
  void Clear() {
    for (const store::NamedImage& image : store_->List()) {
      ASSERT_TRUE(images::Delete(*store_, image.name).ok());
    }
    ASSERT_TRUE(store_->Sweep().ok());
  }

  // Answers as a registry that has the layout's blobs, and `image` under any tag.
  TestResponse Serve(const TestRequest& request, const oci::Descriptor& image) {
    const std::string name = request.path.substr(request.path.rfind('/') + 1);
    if (absl::StrContains(request.path, "/manifests/")) {
      return {200, absl::StrCat("Content-Type: ", image.media_type, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    const auto blob = layout_.blobs().find(name);
    if (blob == layout_.blobs().end()) return {404, "", "{}"};
    return {200, "", blob->second};
  }

  void Fill(RegistryFixture& registry, const oci::Descriptor& image, const std::string& name,
            const std::vector<std::string>& more = {}) {
    layout_.Name({{"served", image}});
    std::vector<std::string> arguments = {"copy",
                                          "--all",
                                          "--quiet",
                                          "--insecure-policy",
                                          "--preserve-digests",
                                          "--dest-tls-verify=false"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    arguments.push_back("oci:" + layout_.path() + ":served");
    arguments.push_back("docker://" + registry.Reference(name));
    const auto filled = RunTool("skopeo", arguments);
    ASSERT_TRUE(filled.ok()) << filled.status();
  }

  // A CA of the test's own, and a certificate for 127.0.0.1.
  void MakeCertificates() {
    const std::string f = folder_.path() + "/";
    ASSERT_TRUE(
        RunTool("openssl", {"req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                            "/CN=Test CA", "-keyout", f + "ca.key", "-out", f + "ca.pem"})
            .ok());
    ASSERT_TRUE(
        RunTool("openssl", {"req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1",
                            "-keyout", f + "server.key", "-out", f + "server.csr"})
            .ok());
    ASSERT_TRUE(base::WriteFileAtomically(f + "ext", "subjectAltName=IP:127.0.0.1\n").ok());
    const auto made =
        RunTool("openssl", {"x509", "-req", "-in", f + "server.csr", "-CA", f + "ca.pem", "-CAkey",
                            f + "ca.key", "-CAcreateserial", "-days", "2", "-extfile", f + "ext",
                            "-out", f + "server.pem"});
    ASSERT_TRUE(made.ok()) << made.status();
  }

  base::TemporaryDirectory folder_;
  base::Paths paths_;
  std::unique_ptr<store::ContentStore> store_;
  OciLayout layout_;
  std::shared_ptr<oci::CredentialStore> credentials_;
  oci::RegistryOptions options_;
};

TEST_F(RegistriesTest, TlsAndBasicAuthentication) {
  MakeCertificates();
  const auto password_line = RunTool("htpasswd", {"-Bbn", "me", "right:word"});
  ASSERT_TRUE(password_line.ok()) << password_line.status();
  const std::string f = folder_.path() + "/";
  ASSERT_TRUE(base::WriteFileAtomically(f + "htpasswd", *password_line).ok());
  auto registry = *RegistryFixture::Start(
      absl::StrCat("auth: {htpasswd: {realm: test, path: ", f, "htpasswd}}\n"),
      absl::StrCat(", tls: {certificate: ", f, "server.pem, key: ", f, "server.key}"));
  Fill(*registry, layout_.Image({layout_.Layer({{"a", "a"}})}, kHost), "team/app:1",
       {"--dest-creds", "me:right:word"});
  const std::string name = registry->Reference("team/app:1");
  const std::string domain = registry->Address();

  options_.scheme = oci::Scheme::kHttps;
  const auto untrusted = Pull(name);
  EXPECT_EQ(untrusted.status().code(), Code::kUnavailable);
  EXPECT_TRUE(absl::StrContains(untrusted.status().message(), "is not trusted"))
      << untrusted.status();
  EXPECT_TRUE(absl::StrContains(untrusted.status().message(), "[registry.hosts.\"" + domain))
      << untrusted.status();

  // A CA file for the registry says that it speaks TLS.
  options_.scheme = oci::Scheme::kAuto;
  options_.hosts[domain].ca_file = f + "ca.pem";
  const auto anonymous = Pull(name);
  EXPECT_EQ(anonymous.status().code(), Code::kUnauthenticated);
  EXPECT_TRUE(absl::StrContains(anonymous.status().message(), "registry login " + domain))
      << anonymous.status();

  const auto check = [&](const std::string& password) {
    return oci::Endpoint(domain, options_, nullptr, oci::Credential{"me", password, ""}).Check();
  };
  const absl::Status wrong = check("wrong");
  EXPECT_EQ(wrong.code(), Code::kUnauthenticated);
  EXPECT_TRUE(absl::StrContains(wrong.message(), "user name or password")) << wrong;
  EXPECT_TRUE(check("right:word").ok()) << check("right:word");

  ASSERT_TRUE(credentials_->Put(domain, {"me", "wrong", ""}).ok());
  EXPECT_EQ(Pull(name).status().code(), Code::kUnauthenticated);
  ASSERT_TRUE(credentials_->Put(domain, {"me", "right:word", ""}).ok());
  const auto pulled = Pull(name);
  EXPECT_TRUE(pulled.ok()) << pulled.status();

  options_.hosts[domain] = {{}, "", /*insecure=*/true};
  options_.scheme = oci::Scheme::kHttps;
  Clear();
  EXPECT_TRUE(Pull(name).ok());
}

TEST_F(RegistriesTest, AnInsecureRegistryMaySpeakPlainHttp) {
  auto registry = *RegistryFixture::Start();
  Fill(*registry, layout_.Image({layout_.Layer({{"a", "a"}})}, kHost), "app:1");
  // A CA file, so that TLS is tried first.
  options_.hosts[registry->Address()] = {{}, "/etc/ssl/certs/ca-certificates.crt", true};
  const auto pulled = Pull(registry->Reference("app:1"));
  EXPECT_TRUE(pulled.ok()) << pulled.status();
  options_.hosts[registry->Address()].insecure = false;
  Clear();
  EXPECT_EQ(Pull(registry->Reference("app:1")).status().code(), Code::kUnavailable);
}

// A registry with a token server beside it, which knows two users and an identity token.
TEST_F(RegistriesTest, BearerTokensAreKeptForTheirScopeUntilTheyExpire) {
  const oci::Descriptor image =
      layout_.Image({layout_.Layer({{"a", "a"}}), layout_.Layer({{"b", "b"}})}, kHost);
  TestHttpServer* self = nullptr;
  std::atomic<int> issued = 0;
  std::atomic<int> lifetime = 300;
  std::atomic<bool> public_image = true;
  std::mutex mutex;
  std::vector<TestRequest> token_requests;
  TestHttpServer tokens([&](const TestRequest& request) -> TestResponse {
    const std::lock_guard lock(mutex);
    token_requests.push_back(request);
    const std::string login = request.Header("authorization");
    const bool known = login == "Basic " + absl::Base64Escape("me:pw") ||
                       absl::StrContains(request.body, "refresh_token=long-lived");
    if (!login.empty() && !known) return {401, "", "{}"};
    if (!known && !public_image) return {401, "", "{}"};
    return {200, "",
            absl::StrCat(R"({"access_token":"t)", ++issued, R"(","expires_in":)", lifetime.load(),
                         "}")};
  });
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    const std::string authorization = request.Header("authorization");
    EXPECT_FALSE(absl::StrContains(authorization, "Basic")) << "the registry saw the password";
    if (authorization != absl::StrCat("Bearer t", issued.load()) || issued == 0) {
      return {401,
              absl::StrCat("Www-Authenticate: Bearer realm=\"http://", self->Address(),
                           "/token\",service=\"reg\",scope=\"repository:app:pull\"\r\n"),
              "{}"};
    }
    return Serve(request, image);
  });
  self = &tokens;
  const std::string name = server.Address() + "/app:1";
  auto pulled = Pull(name);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(issued, 1);  // one for the manifest, the configuration and both layers
  EXPECT_EQ(token_requests[0].path, "/token?service=reg&scope=repository%3Aapp%3Apull");
  Clear();

  // One that is refused although it should hold is fetched again.
  lifetime = 1;
  issued = 0;
  public_image = false;
  EXPECT_EQ(Pull(name).status().code(), Code::kUnauthenticated);
  token_requests.clear();
  ASSERT_TRUE(credentials_->Put(server.Address(), {"me", "pw", ""}).ok());
  pulled = Pull(name);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_TRUE(absl::StrContains(token_requests[0].path, "account=me"));
  EXPECT_FALSE(absl::StrContains(token_requests[0].path, "pw"));
  Clear();

  ASSERT_TRUE(credentials_->Put(server.Address(), {"me", "bad", ""}).ok());
  EXPECT_EQ(Pull(name).status().code(), Code::kUnauthenticated);

  token_requests.clear();
  ASSERT_TRUE(credentials_->Put(server.Address(), {"", "", "long-lived"}).ok());
  pulled = Pull(name);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_TRUE(absl::StartsWith(token_requests[0].head, "POST "));
  EXPECT_TRUE(absl::StrContains(token_requests[0].body, "grant_type=refresh_token"));
}

TEST_F(RegistriesTest, APullThroughMirrorIsAskedFirst) {
  auto origin = *RegistryFixture::Start();
  auto mirror = *RegistryFixture::Start(
      absl::StrCat("proxy: {remoteurl: 'http://", origin->Address(), "'}\n"));
  Fill(*origin, layout_.Image({layout_.Layer({{"a", Noise(100'000)}})}, kHost), "team/app:1");
  const int before = origin->CountRequests("GET", "/blobs/");
  options_.hosts[origin->Address()].mirrors = {"127.0.0.1:1", "http://" + mirror->Address()};
  const auto pulled = Pull(origin->Reference("team/app:1"));
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(pulled->name, origin->Reference("team/app:1"));
  EXPECT_EQ(mirror->CountRequests("GET", "/blobs/", 2), 2);
  Clear();

  // Without the mirrors, or with bad ones, the registry itself answers.
  mirror->Stop();
  EXPECT_TRUE(Pull(origin->Reference("team/app:1")).ok());
  EXPECT_GE(origin->CountRequests("GET", "/blobs/", before + 2), before + 2);
}

TEST_F(RegistriesTest, AMirrorThatLiesIsLeft) {
  const TestLayer layer = layout_.Layer({{"a", Noise(50'000)}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  TestHttpServer origin([&](const TestRequest& request) { return Serve(request, image); });
  TestHttpServer mirror([&](const TestRequest& request) {
    TestResponse response = Serve(request, image);
    if (absl::StrContains(request.path, layer.descriptor.digest)) response.body[100] ^= 1;
    return response;
  });
  options_.hosts[origin.Address()].mirrors = {mirror.Address() + "/proxy"};
  const auto pulled = Pull(origin.Address() + "/app:1");
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_TRUE(store_->Verify(layer.descriptor.digest).ok());
  EXPECT_EQ(mirror.requests()[0].path, "/v2/proxy/app/manifests/1");
}

TEST_F(RegistriesTest, ABrokenConnectionResumesWhereItBroke) {
  const TestLayer layer = layout_.Layer({{"a", Noise(3 << 20)}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  std::atomic<bool> knows_ranges = true;
  std::atomic<int> asked = 0;
  std::mutex mutex;
  std::vector<std::string> ranges;
  TestHttpServer server([&](const TestRequest& request) {
    TestResponse response = Serve(request, image);
    if (!absl::StrContains(request.path, layer.descriptor.digest)) return response;
    ++asked;
    const std::string range = request.Header("range");
    {
      const std::lock_guard lock(mutex);
      ranges.push_back(range);
    }
    const auto total = static_cast<int64_t>(response.body.size());
    if (!range.empty() && knows_ranges) {
      const int64_t start = std::stoll(range.substr(range.find('=') + 1));
      response.status = 206;
      response.headers =
          absl::StrCat("Content-Range: bytes ", start, "-", total - 1, "/", total, "\r\n");
      response.body.erase(0, start);
    }
    // Each answer brings a little more than a megabyte, then the connection breaks.
    const auto size = static_cast<int64_t>(response.body.size());
    const int64_t longest = knows_ranges ? 1'200'000 : 1'000'000 * asked;
    if (size > longest) {
      response.claimed_bytes = size;
      response.body.resize(longest);
    }
    return response;
  });
  const std::string name = server.Address() + "/app:1";
  ASSERT_TRUE(Pull(name).ok());
  EXPECT_EQ(ranges, (std::vector<std::string>{"", "bytes=1200000-", "bytes=2400000-"}));
  Clear();
  knows_ranges = false;
  asked = 0;
  const auto pulled = Pull(name);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(asked, 4);
}

TEST_F(RegistriesTest, APullGoesOnWhereAnInterruptedOneStopped) {
  const TestLayer layer = layout_.Layer({{"a", Noise(1 << 20)}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  std::atomic<bool> hang = true;
  std::atomic<bool> hanging = false;
  std::atomic<int64_t> first_byte = -1;
  TestHttpServer server([&](const TestRequest& request) {
    TestResponse response = Serve(request, image);
    if (!absl::StrContains(request.path, layer.descriptor.digest)) return response;
    const std::string range = request.Header("range");
    first_byte = range.empty() ? 0 : std::stoll(range.substr(range.find('=') + 1));
    if (hang) {
      response.hang_after_bytes = 700'000;
      return response;
    }
    if (range.empty()) return response;
    const auto total = static_cast<int64_t>(response.body.size());
    response.status = 206;
    response.headers = absl::StrCat("Content-Range: bytes ", first_byte.load(), "-", total - 1, "/",
                                    total, "\r\n");
    response.body.erase(0, first_byte);
    return response;
  });
  const std::string name = server.Address() + "/app:1";
  const std::string staged = absl::StrCat(paths_.ContentStore(), "/staging/partial-",
                                          std::string(oci::DigestHex(layer.descriptor.digest)));
  const auto interrupted = Pull(name, [&] {
    std::error_code error;
    return fs::file_size(staged, error) >= 600'000 && !error;
  });
  EXPECT_EQ(interrupted.status().code(), Code::kCancelled) << interrupted.status();
  const auto staged_bytes = static_cast<int64_t>(fs::file_size(staged));
  EXPECT_GE(staged_bytes, 600'000);

  hang = false;
  const auto pulled = Pull(name);
  ASSERT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(first_byte, staged_bytes);
  EXPECT_FALSE(fs::exists(staged));
  Clear();

  // What was staged may be wrong: then all of it comes again.
  ASSERT_TRUE(base::WriteFileAtomically(staged, std::string(1000, 'x')).ok());
  const auto again = Pull(name);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(first_byte, 0);
}

TEST_F(RegistriesTest, RetriesWhatMayPass) {
  const oci::Descriptor image = layout_.Image({layout_.Layer({{"a", "a"}})}, kHost);
  std::atomic<int> status = 503;
  std::atomic<int> failures = 2;
  std::atomic<int> failed = 0;
  std::string headers;
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    if (failed < failures) {
      ++failed;
      return {status, headers, "{}"};
    }
    return Serve(request, image);
  });
  const std::string name = server.Address() + "/app:1";
  EXPECT_TRUE(Pull(name).ok());
  EXPECT_EQ(failed, 2);
  Clear();

  status = 429;
  headers = "Retry-After: 1\r\n";
  failures = 1;
  failed = 0;
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_TRUE(Pull(name).ok());
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
  Clear();

  // Nobody waits an hour.
  headers = "Retry-After: 3600\r\n";
  failed = 0;
  EXPECT_EQ(Pull(name).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(failed, 1);

  headers = "";
  failures = 1000;
  failed = 0;
  EXPECT_EQ(Pull(name).status().code(), Code::kResourceExhausted);
  EXPECT_EQ(failed, options_.retry.attempts);

  // What won't pass is asked for once.
  status = 403;
  failed = 0;
  EXPECT_EQ(Pull(name).status().code(), Code::kPermissionDenied);
  EXPECT_EQ(failed, 1);
}

TEST_F(RegistriesTest, ProxiesOfTheEnvironmentAreUsedButNotForThisHost) {
  const oci::Descriptor image = layout_.Image({layout_.Layer({{"a", "a"}})}, kHost);
  TestHttpServer proxy([&](const TestRequest& request) { return Serve(request, image); });
  TestHttpServer direct([&](const TestRequest& request) { return Serve(request, image); });
  ::setenv("http_proxy", ("http://" + proxy.Address()).c_str(), 1);
  options_.scheme = oci::Scheme::kHttp;
  const auto pulled = Pull("registry.invalid/app:1");
  EXPECT_TRUE(pulled.ok()) << pulled.status();
  EXPECT_EQ(proxy.requests()[0].path, "http://registry.invalid/v2/app/manifests/1");
  const size_t asked = proxy.requests().size();
  EXPECT_TRUE(Pull(direct.Address() + "/app:1").ok());
  ::unsetenv("http_proxy");
  EXPECT_EQ(proxy.requests().size(), asked);
}

TEST_F(RegistriesTest, AStalledTransferIsGivenUp) {
  const TestLayer layer = layout_.Layer({{"a", Noise(100'000)}});
  const oci::Descriptor image = layout_.Image({layer}, kHost);
  TestHttpServer server([&](const TestRequest& request) {
    TestResponse response = Serve(request, image);
    if (absl::StrContains(request.path, layer.descriptor.digest)) response.hang_after_bytes = 10;
    return response;
  });
  options_.stall_timeout = std::chrono::seconds(1);
  options_.retry.attempts = 2;
  const auto pulled = Pull(server.Address() + "/app:1");
  EXPECT_EQ(pulled.status().code(), Code::kDeadlineExceeded) << pulled.status();
}

}  // namespace
}  // namespace container::images
