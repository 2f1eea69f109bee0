#include "plugins/runtime_linux/agent.h"

#include <utility>

#include "base/rpc.h"
#include "base/status.h"
#include "base/units.h"
#include "base/uuid.h"
#include "proto/vminitd.grpc.pb.h"

namespace container::runtime_linux {
namespace {

constexpr size_t kEntropyBytes = 64;

class GrpcProcessStream final : public ProcessStream {
 public:
  explicit GrpcProcessStream(guest::Vminitd::Stub& stub) : stream_(stub.RunProcess(&context_)) {}

  bool Read(guest::ProcessOutput* output) override { return stream_->Read(output); }
  bool Write(const guest::ProcessInput& input) override { return stream_->Write(input); }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override { return base::FromGrpc(stream_->Finish()); }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<guest::ProcessInput, guest::ProcessOutput>> stream_;
};

class GrpcAgent final : public Agent {
 public:
  explicit GrpcAgent(std::shared_ptr<grpc::Channel> channel)
      : stub_(guest::Vminitd::NewStub(std::move(channel))) {}

  absl::StatusOr<guest::HelloResponse> Begin(const guest::CreateContainerRequest* container,
                                             const std::function<void()>& sent,
                                             milliseconds timeout) override {
    grpc::ClientContext hello_context;
    grpc::ClientContext create_context;
    base::SetDeadline(hello_context, timeout);
    base::SetDeadline(create_context, timeout);
    guest::HelloRequest request;
    request.set_entropy(base::RandomBytes(kEntropyBytes));
    request.set_wall_clock_ns(base::NanosecondsOf(std::chrono::system_clock::now()));
    guest::HelloResponse response;
    guest::CreateContainerResponse created;
    grpc::Status hello_status;
    grpc::Status create_status;

    grpc::CompletionQueue queue;
    auto hello = stub_->AsyncHello(&hello_context, request, &queue);
    hello->Finish(&response, &hello_status, &hello);
    std::unique_ptr<grpc::ClientAsyncResponseReader<guest::CreateContainerResponse>> create;
    if (container != nullptr) {
      create = stub_->AsyncCreateContainer(&create_context, *container, &queue);
      create->Finish(&created, &create_status, &create);
    }
    if (sent) sent();
    // Both end by their deadline at the latest.
    void* tag = nullptr;
    bool ok = false;
    for (int left = container != nullptr ? 2 : 1; left > 0 && queue.Next(&tag, &ok);) --left;
    queue.Shutdown();
    while (queue.Next(&tag, &ok)) {
    }
    RETURN_IF_ERROR(base::FromGrpc(hello_status), "greet the guest");
    RETURN_IF_ERROR(base::FromGrpc(create_status), "make the container in the guest");
    return response;
  }

  std::unique_ptr<ProcessStream> RunProcess() override {
    return std::make_unique<GrpcProcessStream>(*stub_);
  }

  absl::Status Signal(const std::string& container_id, const std::string& process_id, int signal,
                      milliseconds timeout) override {
    grpc::ClientContext context;
    base::SetDeadline(context, timeout);
    guest::SignalProcessRequest request;
    request.set_container_id(container_id);
    request.set_process_id(process_id);
    request.set_signal(signal);
    guest::SignalProcessResponse response;
    return base::FromGrpc(stub_->SignalProcess(&context, request, &response));
  }

  absl::Status Resize(const std::string& container_id, const std::string& process_id, uint32_t rows,
                      uint32_t columns, milliseconds timeout) override {
    grpc::ClientContext context;
    base::SetDeadline(context, timeout);
    guest::ResizeTerminalRequest request;
    request.set_container_id(container_id);
    request.set_process_id(process_id);
    request.mutable_size()->set_rows(rows);
    request.mutable_size()->set_columns(columns);
    guest::ResizeTerminalResponse response;
    return base::FromGrpc(stub_->ResizeTerminal(&context, request, &response));
  }

  absl::Status PowerOff(milliseconds timeout) override {
    grpc::ClientContext context;
    base::SetDeadline(context, timeout);
    guest::PowerOffRequest request;
    guest::PowerOffResponse response;
    return base::FromGrpc(stub_->PowerOff(&context, request, &response));
  }

 private:
  std::unique_ptr<guest::Vminitd::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> Agent::Connect(base::Fd port) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, base::ConnectRpc(std::move(port)));
  return std::make_unique<GrpcAgent>(std::move(channel));
}

}  // namespace container::runtime_linux
