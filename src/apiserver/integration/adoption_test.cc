// The real apiserver with its real helpers and VMs, over its own protocol: containers outlive it.
//
// Needs the programs, the initramfs and a kernel in the build folder, QEMU and busybox-static.
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/process_identity.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "gmock/gmock.h"
#include "grpc/grpc.h"
#include "gtest/gtest.h"
#include "model/container.h"
#include "proto/apiserver.grpc.pb.h"
#include "proto/images.grpc.pb.h"

namespace container::apiserver {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr char kBusybox[] = "/bin/busybox";

class AdoptionTest : public testing::Test {
 protected:
  /// The last channel that goes would end the library, which can take ten seconds.
  static void SetUpTestSuite() { grpc_init(); }

  void SetUp() override {
    const char* build = std::getenv("CONTAINER_BUILD_DIR");
    install_root_ = build != nullptr ? build : "build";
    for (const std::string& needed :
         {install_root_ + "/bin/container-apiserver", install_root_ + "/share/container/vmlinux",
          install_root_ + "/share/container/initramfs.cpio", std::string(kBusybox)}) {
      if (::access(needed.c_str(), R_OK) != 0) GTEST_SKIP() << needed << " is missing";
    }
    ::setenv("XDG_RUNTIME_DIR", (folder_.path() + "/r").c_str(), 1);
    ASSERT_TRUE(base::MakeDirectories(folder_.path() + "/r").ok());
    paths_ = base::Paths::FromEnvironment()
                 .value()
                 .WithRoots(folder_.path() + "/app", install_root_, "")
                 .value();
    Launch();
    LoadImage();
  }
  void TearDown() override {
    if (system_ == nullptr) return;
    grpc::ClientContext context;
    base::SetDeadline(context, seconds(60));
    v1::ShutdownResponse response;
    EXPECT_TRUE(system_->Shutdown(&context, {}, &response).ok());
    EXPECT_EQ(apiserver_->WaitFor(seconds(10)).value().value().ShellStatus(), 0);
  }

  void Launch() {
    base::FdPair ready = base::MakePipe().value();
    base::SubprocessSpec spec;
    spec.program = paths_->ApiserverProgram();
    spec.arguments = {"start", "--app-root", paths_->app_root(), "--ready-fd", "3"};
    spec.fds = {{ready.second.get(), 3}};
    apiserver_ = base::Subprocess::Spawn(spec).value();
    ready.second.Reset();
    ASSERT_EQ(base::ReadAll(ready.first.get(), 4096).value(), "ready\n");
    channel_ = base::ConnectRpc(paths_->ApiserverSocket()).value();
    containers_ = v1::Containers::NewStub(channel_);
    system_ = v1::System::NewStub(channel_);
  }

  /// A docker archive of one busybox, made by tar.
  void LoadImage() {
    const std::string script =
        "set -e; cd \"$1\"; mkdir -p root/bin; cp /bin/busybox root/bin/busybox; "
        "ln -s busybox root/bin/sh; tar -C root -cf layer.tar .; d=$(sha256sum layer.tar); "
        "echo '{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"sh\"]},"
        "\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:'${d%% *}'\"]}}' >config.json; "
        "echo '[{\"Config\":\"config.json\",\"RepoTags\":[\"bb:1\"],\"Layers\":[\"layer.tar\"]}]' "
        ">manifest.json; tar -cf image.tar manifest.json config.json layer.tar";
    base::SubprocessSpec spec;
    spec.program = "sh";
    spec.arguments = {"-c", script, "sh", folder_.path()};
    auto made = base::RunCommand(spec, seconds(60));
    ASSERT_TRUE(made.ok() && made->end.ShellStatus() == 0) << made->standard_error;
    grpc::ClientContext context;
    base::SetDeadline(context, seconds(60));
    images::v1::LoadRequest request;
    request.set_path(folder_.path() + "/image.tar");
    auto reader = images::v1::Images::NewStub(channel_)->Load(&context, request);
    images::v1::ImageEvent event;
    while (reader->Read(&event)) {
    }
    const grpc::Status status = reader->Finish();
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  void Run(const std::string& id, const std::string& script) {
    model::CreateOptions options;
    options.id = id;
    options.image = "bb:1";
    options.process.arguments = {"/bin/sh", "-c", script};
    grpc::ClientContext create_context;
    base::SetDeadline(create_context, seconds(60));
    v1::CreateRequest create;
    create.set_options_json(options.ToJson());
    v1::CreateResponse created;
    grpc::Status status = containers_->Create(&create_context, create, &created);
    ASSERT_TRUE(status.ok()) << status.error_message();
    grpc::ClientContext start_context;
    base::SetDeadline(start_context, seconds(120));
    v1::StartRequest start;
    start.set_id(id);
    v1::StartResponse started;
    status = containers_->Start(&start_context, start, &started);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_FALSE(started.has_exec_failure()) << started.exec_failure().message();
  }
  int Wait(const std::string& id) {
    grpc::ClientContext context;
    base::SetDeadline(context, seconds(60));
    v1::WaitRequest request;
    request.set_id(id);
    v1::WaitResponse response;
    const grpc::Status status = containers_->Wait(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.exit().exit_code();
  }
  void Kill(const std::string& id, int signal) {
    grpc::ClientContext context;
    base::SetDeadline(context, seconds(60));
    v1::SignalRequest request;
    request.set_id(id);
    request.set_signal(signal);
    v1::SignalResponse response;
    const grpc::Status status = containers_->Signal(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }
  model::ContainerStatus StatusOf(const std::string& id) {
    grpc::ClientContext context;
    base::SetDeadline(context, seconds(60));
    v1::GetRequest request;
    request.set_id(id);
    v1::GetResponse response;
    const grpc::Status status = containers_->Get(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return model::ParseContainerObject(response.container_json()).value().status;
  }
  int HelperOf(const std::string& id) {
    const base::Bundle bundle{paths_->Bundle(id)};
    return model::HelperRecord::FromJson(base::ReadFile(bundle.Helper()).value()).value().pid;
  }
  void KillApiserver() {
    ASSERT_TRUE(apiserver_->Signal(SIGKILL).ok());
    ASSERT_TRUE(apiserver_->Wait().ok());
  }

  base::TemporaryDirectory folder_ = base::TemporaryDirectory::Create("ct-").value();
  std::string install_root_;
  std::optional<base::Paths> paths_;
  std::optional<base::Subprocess> apiserver_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Containers::Stub> containers_;
  std::unique_ptr<v1::System::Stub> system_;
};

TEST_F(AdoptionTest, ContainersOutliveTheApiserver) {
  constexpr char kUntilTerm[] = "trap 'exit 7' TERM; while :; do busybox sleep 0.05; done";
  Run("stays", kUntilTerm);
  Run("ends", kUntilTerm);
  Run("dies", kUntilTerm);
  const int ends = HelperOf("ends");
  const int dies = HelperOf("dies");
  const std::string started = StatusOf("stays").started_date;
  KillApiserver();
  // One container ends in order while nobody looks, another's helper is killed.
  base::Fd ends_fd = base::OpenProcess(base::IdentifyProcess(ends).value()).value();
  ASSERT_EQ(::kill(ends, SIGTERM), 0);
  ASSERT_EQ(::kill(dies, SIGKILL), 0);
  ASSERT_TRUE(base::PollFd(ends_fd.get(), POLLIN, seconds(30)).value());
  Launch();
  EXPECT_EQ(StatusOf("stays").state, "running");
  EXPECT_EQ(StatusOf("stays").started_date, started);
  EXPECT_EQ(StatusOf("ends").state, "stopped");
  EXPECT_EQ(StatusOf("ends").exit_code, 7);
  EXPECT_EQ(StatusOf("dies").state, "stopped");
  EXPECT_EQ(StatusOf("dies").exit_code, 137);
  EXPECT_THAT(StatusOf("dies").error, HasSubstr("helper died"));
  Kill("stays", SIGTERM);
  EXPECT_EQ(Wait("stays"), 7);
  EXPECT_EQ(StatusOf("stays").state, "stopped");
}

TEST_F(AdoptionTest, ADeadHelperStopsItsContainerAlone) {
  Run("one", "while :; do busybox sleep 1; done");
  Run("two", "while :; do busybox sleep 1; done");
  ASSERT_EQ(::kill(HelperOf("one"), SIGKILL), 0);
  EXPECT_EQ(Wait("one"), 137);
  EXPECT_EQ(StatusOf("two").state, "running");
  Kill("two", SIGKILL);
  EXPECT_EQ(Wait("two"), 137);
}

}  // namespace
}  // namespace container::apiserver
