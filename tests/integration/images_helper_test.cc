// The program container-core-images, driven over its socket: starting, ending, dying.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <thread>

#include "absl/strings/match.h"
#include "base/paths.h"
#include "base/rpc.h"
#include "base/unix_socket.h"
#include "proto/images.grpc.pb.h"
#include "tests/integration/http_server.h"
#include "tests/integration/oci_layout.h"

namespace container {
namespace {

namespace fs = std::filesystem;
namespace v1 = images::v1;
using testing::OciLayout;
using testing::RegistryFixture;
using testing::RunTool;
using testing::TestHttpServer;
using testing::TestRequest;
using testing::TestResponse;

std::string Program() {
  const char* build = std::getenv("CONTAINER_BUILD_DIR");
  return absl::StrCat(build == nullptr ? "build" : build,
                      "/libexec/container/plugins/container-core-images/bin/container-core-images");
}

class ImagesHelperTest : public ::testing::Test {
 protected:
  ImagesHelperTest()
      : folder_(*base::TemporaryDirectory::Create()),
        app_root_(folder_.path() + "/app"),
        layout_(folder_.path() + "/layout") {
    // The helper inherits them: neither logins nor settings of whoever runs this test.
    ::setenv("HOME", folder_.path().c_str(), 1);
    ::setenv("XDG_CONFIG_HOME", (folder_.path() + "/config").c_str(), 1);
  }

  // Starts a helper as the apiserver does: with a socket that listens already as descriptor 3.
  void Start() {
    process_.reset();
    const std::string socket = folder_.path() + "/images.sock";
    base::Fd listener = *base::ListenUnix(socket);
    base::SubprocessSpec spec;
    spec.program = Program();
    spec.arguments = {"start",    "--app-root", app_root_,
                      "--socket", socket,       "--listen-fd",
                      "3",        "--log",      folder_.path() + "/log"};
    spec.fds = {{listener.get(), 3}};
    auto process = base::Subprocess::Spawn(spec);
    ASSERT_TRUE(process.ok()) << process.status();
    process_ = std::make_unique<base::Subprocess>(*std::move(process));
    auto channel = base::ConnectRpc(socket);
    ASSERT_TRUE(channel.ok()) << channel.status();
    stub_ = v1::Images::NewStub(*channel);
  }

  grpc::Status Pull(const std::string& reference, std::string* json = nullptr) {
    grpc::ClientContext context;
    base::SetDeadline(context, std::chrono::seconds(60));
    v1::PullRequest request;
    request.set_reference(reference);
    const auto reader = stub_->Pull(&context, request);
    v1::ImageEvent event;
    while (reader->Read(&event)) {
      if (json != nullptr && !event.image_json().empty()) *json = event.image_json();
    }
    return reader->Finish();
  }

  grpc::Status Ping(std::string* version) {
    grpc::ClientContext context;
    base::SetDeadline(context, std::chrono::seconds(30));
    v1::PingResponse response;
    const grpc::Status status = stub_->Ping(&context, {}, &response);
    *version = response.version();
    return status;
  }

  base::TemporaryDirectory folder_;
  std::string app_root_;
  OciLayout layout_;
  std::unique_ptr<base::Subprocess> process_;
  std::unique_ptr<v1::Images::Stub> stub_;
};

TEST_F(ImagesHelperTest, SaysWhatItIs) {
  EXPECT_TRUE(absl::StrContains(*RunTool(Program(), {"--help"}), "start"));
  EXPECT_TRUE(absl::StrContains(*RunTool(Program(), {"--version"}), "container-core-images 0."));
  base::SubprocessSpec spec;
  spec.program = Program();
  spec.arguments = {"start", "--nonsense"};
  EXPECT_EQ(base::RunCommand(spec, std::chrono::seconds(20))->end.exit_code, 2);
}

TEST_F(ImagesHelperTest, ServesEndsAndKeepsOthersOut) {
  Start();
  std::string version;
  ASSERT_TRUE(Ping(&version).ok());
  EXPECT_TRUE(absl::StartsWith(version, "0."));

  base::SubprocessSpec second;
  second.program = Program();
  second.arguments = {"start", "--app-root", app_root_, "--socket", folder_.path() + "/second"};
  const auto result = base::RunCommand(second, std::chrono::seconds(20));
  EXPECT_EQ(result->end.exit_code, 1);
  EXPECT_TRUE(absl::StrContains(result->standard_error, "in use by another"))
      << result->standard_error;

  ASSERT_TRUE(process_->Signal(SIGTERM).ok());
  const auto end = process_->WaitFor(std::chrono::seconds(10));
  ASSERT_TRUE(end.ok() && end->has_value());
  EXPECT_EQ((*end)->exit_code, 0);
  Start();
  EXPECT_TRUE(Ping(&version).ok());
}

// Killed in the middle of a layer: nothing wrong is visible, and the next pull succeeds.
TEST_F(ImagesHelperTest, SurvivesItsDeathInAPull) {
  const auto small = layout_.Layer({{"a", "a"}});
  const auto large = layout_.Layer({{"b", std::string(1000000, 'b')}});
  const oci::Descriptor image = layout_.Image({small, large}, oci::Platform::Host());
  std::atomic<bool> stall = true;
  std::atomic<int> small_requests = 0;
  base::FdPair stalled = *base::MakePipe();
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    if (absl::StrContains(request.path, "/manifests/")) {
      return {200, absl::StrCat("Content-Type: ", oci::kOciManifest, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    const std::string digest = request.path.substr(request.path.rfind('/') + 1);
    TestResponse response{200, "", layout_.blobs().at(digest)};
    if (digest == small.descriptor.digest) ++small_requests;
    if (digest == large.descriptor.digest && stall) {
      response.hang_after_bytes = 500;
      base::WriteAll(stalled.second.get(), "x").IgnoreError();
    }
    return response;
  });
  const std::string reference = server.Address() + "/app:1";

  Start();
  std::thread puller([&] { EXPECT_FALSE(Pull(reference).ok()); });
  ASSERT_TRUE(*base::PollFd(stalled.first.get(), POLLIN, std::chrono::seconds(30)));
  ASSERT_TRUE(process_->Signal(SIGKILL).ok());
  ASSERT_TRUE(process_->Wait().ok());
  puller.join();
  EXPECT_FALSE(fs::exists(absl::StrCat(app_root_, "/content/blobs/sha256/",
                                       std::string(oci::DigestHex(large.descriptor.digest)))));

  stall = false;
  Start();
  std::string json;
  const grpc::Status pulled = Pull(reference, &json);
  ASSERT_TRUE(pulled.ok()) << pulled.error_message();
  EXPECT_EQ(nlohmann::json::parse(json)["configuration"]["name"], reference);
  EXPECT_TRUE(fs::is_empty(app_root_ + "/content/staging"));
  for (const auto& entry : fs::directory_iterator(app_root_ + "/content/blobs/sha256")) {
    EXPECT_EQ(oci::DigestHex(oci::Sha256Digest(*base::ReadFile(entry.path()))),
              entry.path().filename().string());
  }

  // And over the wire: a root, a list, errors with their codes, a deletion.
  {
    grpc::ClientContext context;
    v1::PrepareRootRequest request;
    request.set_reference(reference);
    const auto reader = stub_->PrepareRoot(&context, request);
    v1::PrepareRootEvent event;
    v1::Root root;
    while (reader->Read(&event)) {
      if (event.has_root()) root = event.root();
    }
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_TRUE(fs::exists(root.path()));
    EXPECT_EQ(root.reference(), reference);
    EXPECT_EQ(nlohmann::json::parse(root.descriptor_json())["digest"], image.digest);
    EXPECT_EQ(nlohmann::json::parse(root.config_json())["config"]["Cmd"][0], "/bin/sh");
  }
  {
    grpc::ClientContext context;
    v1::GetRequest request;
    request.set_reference("nothing");
    v1::GetResponse response;
    EXPECT_EQ(stub_->Get(&context, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  }
  EXPECT_EQ(Pull("Not/Valid:").error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  {
    grpc::ClientContext context;
    v1::DeleteRequest request;
    request.set_reference(reference);
    v1::DeleteResponse response;
    EXPECT_TRUE(stub_->Delete(&context, request, &response).ok());
    EXPECT_EQ(response.name(), reference);
  }
  {
    grpc::ClientContext context;
    v1::ListResponse response;
    EXPECT_TRUE(stub_->List(&context, {}, &response).ok());
    EXPECT_EQ(response.image_json_size(), 0);
  }
  EXPECT_TRUE(fs::is_empty(app_root_ + "/content/blobs/sha256"));
  EXPECT_TRUE(fs::is_empty(app_root_ + "/rootfs"));
}

// A call that ends with the helper: SIGTERM in the middle of a download.
TEST_F(ImagesHelperTest, EndsInTheMiddleOfAPull) {
  const auto layer = layout_.Layer({{"b", std::string(1000000, 'b')}});
  const oci::Descriptor image = layout_.Image({layer}, oci::Platform::Host());
  base::FdPair stalled = *base::MakePipe();
  TestHttpServer server([&](const TestRequest& request) -> TestResponse {
    if (absl::StrContains(request.path, "/manifests/")) {
      return {200, absl::StrCat("Content-Type: ", oci::kOciManifest, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    const std::string digest = request.path.substr(request.path.rfind('/') + 1);
    TestResponse response{200, "", layout_.blobs().at(digest)};
    if (digest == layer.descriptor.digest) {
      response.hang_after_bytes = 500;
      base::WriteAll(stalled.second.get(), "x").IgnoreError();
    }
    return response;
  });
  Start();
  std::thread puller([&] { EXPECT_FALSE(Pull(server.Address() + "/app:1").ok()); });
  ASSERT_TRUE(*base::PollFd(stalled.first.get(), POLLIN, std::chrono::seconds(30)));
  ASSERT_TRUE(process_->Signal(SIGTERM).ok());
  const auto end = process_->WaitFor(std::chrono::seconds(10));
  ASSERT_TRUE(end.ok() && end->has_value());
  EXPECT_EQ((*end)->exit_code, 0);
  puller.join();
}

TEST_F(ImagesHelperTest, LoginsAreCheckedKeptAndForgotten) {
  const auto line = RunTool("htpasswd", {"-Bbn", "me", "hunter2"});
  ASSERT_TRUE(line.ok()) << line.status();
  ASSERT_TRUE(base::WriteFileAtomically(folder_.path() + "/htpasswd", *line).ok());
  auto registry = *RegistryFixture::Start(
      absl::StrCat("auth: {htpasswd: {realm: test, path: ", folder_.path(), "/htpasswd}}\n"));
  Start();
  const auto login = [&](const std::string& password) {
    grpc::ClientContext context;
    base::SetDeadline(context, std::chrono::seconds(60));
    v1::LoginRequest request;
    request.set_registry("http://" + registry->Address() + "/v2/");
    request.set_username("me");
    request.set_password(password);
    v1::LoginResponse response;
    const grpc::Status status = stub_->Login(&context, request, &response);
    EXPECT_EQ(response.registry(), status.ok() ? registry->Address() : "");
    return status.error_code();
  };
  const auto logins = [&] {
    grpc::ClientContext context;
    v1::ListLoginsResponse response;
    EXPECT_TRUE(stub_->ListLogins(&context, {}, &response).ok());
    std::string text;
    for (const auto& entry : response.logins()) {
      EXPECT_GT(entry.modified_ns(), 0);
      absl::StrAppend(&text, entry.username(), "@", entry.registry(), ";");
    }
    return text;
  };
  const std::string name = registry->Reference("team/app:1");
  EXPECT_EQ(login("wrong1"), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(logins(), "");
  EXPECT_EQ(Pull(name).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(login("hunter2"), grpc::StatusCode::OK);
  EXPECT_EQ(logins(), absl::StrCat("me@", registry->Address(), ";"));
  EXPECT_EQ(Pull(name).error_code(), grpc::StatusCode::NOT_FOUND);

  // Push, and pull what was pushed.
  const oci::Descriptor image = layout_.Image({layout_.Layer({{"a", "a"}})}, oci::Platform::Host());
  layout_.Name({{name, image}});
  {
    grpc::ClientContext context;
    v1::LoadRequest request;
    request.set_path(layout_.path());
    const auto reader = stub_->Load(&context, request);
    for (v1::ImageEvent event; reader->Read(&event);) {
    }
    ASSERT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    v1::PushRequest request;
    request.set_reference(name);
    const auto reader = stub_->Push(&context, request);
    std::string descriptor;
    for (v1::PushEvent event; reader->Read(&event);) {
      if (event.name() == name) descriptor = event.descriptor_json();
    }
    const grpc::Status status = reader->Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
    EXPECT_EQ(nlohmann::json::parse(descriptor)["digest"], image.digest);
  }
  EXPECT_TRUE(Pull(name).ok());

  // Saved through the call itself, and to a file.
  std::string archive;
  {
    grpc::ClientContext context;
    v1::SaveRequest request;
    request.add_references(name);
    const auto reader = stub_->Save(&context, request);
    for (v1::SaveEvent event; reader->Read(&event);) archive += event.data();
    EXPECT_TRUE(reader->Finish().ok());
  }
  {
    grpc::ClientContext context;
    v1::SaveRequest request;
    request.add_references(name);
    request.set_path(folder_.path() + "/out.tar");
    const auto reader = stub_->Save(&context, request);
    std::string names;
    for (v1::SaveEvent event; reader->Read(&event);) {
      EXPECT_TRUE(event.data().empty());
      for (const std::string& saved : event.names()) names += saved;
    }
    EXPECT_TRUE(reader->Finish().ok());
    EXPECT_EQ(names, name);
  }
  EXPECT_EQ(oci::Sha256Digest(archive),
            oci::Sha256Digest(*base::ReadFile(folder_.path() + "/out.tar")));
  {
    grpc::ClientContext context;
    v1::PruneRequest request;
    request.set_all(true);
    v1::PruneResponse response;
    EXPECT_TRUE(stub_->Prune(&context, request, &response).ok());
    ASSERT_EQ(response.names_size(), 1);
    EXPECT_EQ(response.names(0), name);
  }

  const auto logout = [&] {
    grpc::ClientContext context;
    v1::LogoutRequest request;
    request.set_registry(registry->Address());
    v1::LogoutResponse response;
    return stub_->Logout(&context, request, &response).error_code();
  };
  EXPECT_EQ(logout(), grpc::StatusCode::OK);
  EXPECT_EQ(logout(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(logins(), "");
  EXPECT_EQ(Pull(name).error_code(), grpc::StatusCode::UNAUTHENTICATED);
  const std::string log = *base::ReadFile(folder_.path() + "/log");
  EXPECT_TRUE(absl::StrContains(log, "login"));
  EXPECT_FALSE(absl::StrContains(log, "hunter2"));
  EXPECT_FALSE(absl::StrContains(log, "wrong1"));
}

TEST_F(ImagesHelperTest, ConfigurationIsReadAtEachRequest) {
  const oci::Descriptor image = layout_.Image({layout_.Layer({{"a", "a"}})}, oci::Platform::Host());
  TestHttpServer mirror([&](const TestRequest& request) -> TestResponse {
    if (absl::StrContains(request.path, "/manifests/")) {
      return {200, absl::StrCat("Content-Type: ", oci::kOciManifest, "\r\n"),
              layout_.blobs().at(image.digest)};
    }
    return {200, "", layout_.blobs().at(request.path.substr(request.path.rfind('/') + 1))};
  });
  Start();
  const std::string config = folder_.path() + "/config/container/config.toml";
  ASSERT_TRUE(base::MakeDirectories(folder_.path() + "/config/container").ok());
  ASSERT_TRUE(
      base::WriteFileAtomically(config, "[registry.hosts.\"127.0.0.1:1\"]\nmirror = 1\n").ok());
  const grpc::Status wrong = Pull("127.0.0.1:1/app:1");
  EXPECT_EQ(wrong.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(absl::StrContains(wrong.error_message(), config + ", line 2"))
      << wrong.error_message();
  ASSERT_TRUE(base::WriteFileAtomically(
                  config, absl::StrCat("[registry.hosts.\"127.0.0.1:1\"]\nmirrors = [\"",
                                       mirror.Address(), "\"]\n"))
                  .ok());
  const grpc::Status pulled = Pull("127.0.0.1:1/app:1");
  EXPECT_TRUE(pulled.ok()) << pulled.error_message();

  // Names without a registry lead where [registry] domain says, without library/.
  const auto set_domain = [&](const std::string& domain) {
    return base::WriteFileAtomically(config, "[registry]\ndomain = \"" + domain + "\"\n").ok();
  };
  ASSERT_TRUE(set_domain(mirror.Address()));
  std::string json;
  const grpc::Status short_name = Pull("app:2", &json);
  EXPECT_TRUE(short_name.ok()) << short_name.error_message();
  EXPECT_TRUE(absl::StrContains(json, "\"" + mirror.Address() + "/app:2\"")) << json;
  const auto get = [&](const std::string& reference) {
    grpc::ClientContext context;
    v1::GetRequest request;
    request.set_reference(reference);
    v1::GetResponse response;
    return stub_->Get(&context, request, &response).error_code();
  };
  EXPECT_EQ(get("app:2"), grpc::StatusCode::OK);
  EXPECT_EQ(get("docker.io/app:2"), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(get(image.digest), grpc::StatusCode::OK);
  ASSERT_TRUE(set_domain("docker.io"));
  EXPECT_EQ(get("app:2"), grpc::StatusCode::NOT_FOUND);
  ASSERT_TRUE(set_domain("myhost"));
  EXPECT_EQ(get("app:2"), grpc::StatusCode::INVALID_ARGUMENT);
}

// SIGKILL at moments that the clock chooses, until a pull gets through.
TEST_F(ImagesHelperTest, NothingIsCorruptWheneverItDies) {
  auto registry = *RegistryFixture::Start();
  std::minstd_rand random(std::random_device{}());
  std::vector<testing::TestLayer> layers;
  for (int i = 0; i < 4; ++i) {
    std::string noise(2 << 20, '\0');
    for (char& c : noise) c = static_cast<char>(random() >> 8);
    layers.push_back(layout_.Layer({{absl::StrCat("f", i), noise}}));
  }
  layout_.Name({{"served", layout_.Image(layers, oci::Platform::Host())}});
  ASSERT_TRUE(registry->Fill("oci:" + layout_.path() + ":served", "app:1").ok());
  const std::string name = registry->Reference("app:1");
  const auto expect_sound = [&] {
    for (const auto& entry : fs::directory_iterator(app_root_ + "/content/blobs/sha256")) {
      EXPECT_EQ(oci::DigestHex(oci::Sha256Digest(*base::ReadFile(entry.path()))),
                entry.path().filename().string());
    }
  };
  for (int round = 0; round < 12; ++round) {
    Start();
    std::string version;
    ASSERT_TRUE(Ping(&version).ok());
    std::thread puller([&] { Pull(name); });
    std::this_thread::sleep_for(std::chrono::milliseconds(random() % 120));
    process_->Signal(SIGKILL).IgnoreError();
    ASSERT_TRUE(process_->Wait().ok());
    puller.join();
    expect_sound();
  }
  Start();
  const grpc::Status pulled = Pull(name);
  EXPECT_TRUE(pulled.ok()) << pulled.error_message();
  expect_sound();
  EXPECT_TRUE(fs::is_empty(app_root_ + "/content/staging"));
}

}  // namespace
}  // namespace container
