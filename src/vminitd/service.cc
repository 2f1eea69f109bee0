#include "vminitd/service.h"

#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/server_posix.h>
#include <sys/utsname.h>

#include <string>
#include <utility>

#include "absl/strings/strip.h"
#include "absl/strings/string_view.h"
#include "base/file.h"
#include "base/status.h"
#include "proto/vminitd.grpc.pb.h"
#include "vminitd/clock_and_entropy.h"
#include "vminitd/bounds.h"

namespace container::vminitd {
namespace {

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::Status Greet(const v1::HelloRequest& request, v1::HelloResponse& response) {
  RETURN_IF_ERROR(SetWallClock(request.wall_clock_ns()));
  RETURN_IF_ERROR(AddEntropy(request.entropy()));
  utsname names{};
  if (::uname(&names) != 0) return base::ErrnoStatus("uname");
  ASSIGN_OR_RETURN(base::Fd boot_id, base::Open("/proc/sys/kernel/random/boot_id", O_RDONLY));
  char id[64];
  ASSIGN_OR_RETURN(size_t count, base::ReadSome(boot_id.get(), id));
  response.set_version(CONTAINER_VERSION);
  response.set_kernel_release(names.release);
  response.set_boot_id(std::string(absl::StripSuffix(absl::string_view(id, count), "\n")));
  return absl::OkStatus();
}

// One call of RunProcess. gRPC's events are posted to the loop, in whose hands the Process is, and
// where this object ends.
class RunProcessReactor final
    : public grpc::ServerBidiReactor<v1::ProcessInput, v1::ProcessOutput>,
      public ProcessStream {
 public:
  explicit RunProcessReactor(Supervisor* supervisor) : supervisor_(supervisor) {
    Post([this] {
      process_ = supervisor_->AddProcess(this);
      Read();
    });
  }

  void Read() override { StartRead(&input_); }
  const v1::ProcessInput& input() const override { return input_; }
  v1::ProcessOutput& output() override { return output_; }
  void Write() override { StartWrite(&output_); }
  void WriteLast() override {
    StartWriteAndFinish(&output_, grpc::WriteOptions(), grpc::Status::OK);
  }
  void Finish(absl::Status status) override { ServerBidiReactor::Finish(ToGrpc(status)); }

  void OnReadDone(bool ok) override {
    Post([this, ok] { process_->OnInput(ok); });
  }
  void OnWriteDone(bool ok) override {
    Post([this, ok] { process_->OnWritten(ok); });
  }
  void OnCancel() override {
    Post([this] { process_->OnCancel(); });
  }
  // The last event of all.
  void OnDone() override {
    Post([this] {
      supervisor_->Drop(process_);
      delete this;
    });
  }

 private:
  void Post(EventLoop::Task task) { supervisor_->loop().Post(std::move(task)); }

  Supervisor* const supervisor_;
  Process* process_ = nullptr;  // on the loop only
  v1::ProcessInput input_;
  v1::ProcessOutput output_;
};

class Service final : public v1::Vminitd::CallbackService {
 public:
  explicit Service(Supervisor* supervisor) : supervisor_(supervisor) {}

  grpc::ServerUnaryReactor* Hello(grpc::CallbackServerContext* context,
                                  const v1::HelloRequest* request,
                                  v1::HelloResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpc(Greet(*request, *response)));
    return reactor;
  }

  grpc::ServerUnaryReactor* CreateContainer(grpc::CallbackServerContext* context,
                                            const v1::CreateContainerRequest* request,
                                            v1::CreateContainerResponse*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    supervisor_->loop().Post([this, request, reactor] {
      supervisor_->CreateContainer(
          *request, [reactor](absl::Status status) { reactor->Finish(ToGrpc(status)); });
    });
    return reactor;
  }

  grpc::ServerBidiReactor<v1::ProcessInput, v1::ProcessOutput>* RunProcess(
      grpc::CallbackServerContext*) override {
    return new RunProcessReactor(supervisor_);
  }

  grpc::ServerUnaryReactor* SignalProcess(grpc::CallbackServerContext* context,
                                          const v1::SignalProcessRequest* request,
                                          v1::SignalProcessResponse*) override {
    return OnLoop(context, [this, request] { return supervisor_->Signal(*request); });
  }

  grpc::ServerUnaryReactor* ResizeTerminal(grpc::CallbackServerContext* context,
                                           const v1::ResizeTerminalRequest* request,
                                           v1::ResizeTerminalResponse*) override {
    return OnLoop(context, [this, request] { return supervisor_->Resize(*request); });
  }

  grpc::ServerUnaryReactor* PowerOff(grpc::CallbackServerContext* context,
                                     const v1::PowerOffRequest*,
                                     v1::PowerOffResponse*) override {
    return OnLoop(context, [this] {
      // The answer first: it may still get out.
      supervisor_->loop().Post([this] { supervisor_->PowerOff(); });
      return absl::OkStatus();
    });
  }

 private:
  template <typename Function>
  grpc::ServerUnaryReactor* OnLoop(grpc::CallbackServerContext* context, Function function) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    supervisor_->loop().Post([reactor, function] { reactor->Finish(ToGrpc(function())); });
    return reactor;
  }

  Supervisor* const supervisor_;
};

class GrpcAgentServer final : public AgentServer {
 public:
  GrpcAgentServer(Supervisor* supervisor, base::Fd connection) : service_(supervisor) {
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMaxAgentMessageBytes);
    builder.SetMaxSendMessageSize(kMaxAgentMessageBytes);
    // Nothing of what costs memory and first calls and serves no one behind a private wire.
    builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    if (server_ != nullptr) {
      grpc::AddInsecureChannelFromFd(server_.get(), connection.Release());
    }
  }

  bool started() const { return server_ != nullptr; }

 private:
  Service service_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AgentServer>> AgentServer::Create(Supervisor* supervisor,
                                                                 base::Fd connection) {
  auto server = std::make_unique<GrpcAgentServer>(supervisor, std::move(connection));
  if (!server->started()) return absl::InternalError("gRPC's server does not start");
  return server;
}

}  // namespace container::vminitd
