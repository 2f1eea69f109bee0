#include "apiserver/containers/runtime_client.h"

#include <utility>

#include "base/rpc.h"
#include "base/status.h"
#include "proto/runtime.grpc.pb.h"

namespace container::apiserver {
namespace {

using runtime::v1::Runtime;

/// What a call needs until it has ended; it keeps itself and the channel alive.
template <typename Request, typename Response>
struct Call {
  std::shared_ptr<Runtime::Stub> stub;
  grpc::ClientContext context;
  Request request;
  Response response;
};

class GrpcRuntimeClient : public RuntimeClient {
 public:
  explicit GrpcRuntimeClient(std::shared_ptr<grpc::Channel> channel)
      : stub_(Runtime::NewStub(channel)) {}

  absl::StatusOr<runtime::v1::GetStateResponse> GetState(
      std::chrono::milliseconds timeout) override {
    grpc::ClientContext context;
    base::SetDeadline(context, timeout);
    runtime::v1::GetStateResponse response;
    RETURN_IF_ERROR(base::FromGrpc(stub_->GetState(&context, {}, &response)));
    return response;
  }

  Cancel StartProcess(const runtime::v1::StartProcessRequest& request,
                      std::chrono::milliseconds timeout,
                      Callback<runtime::v1::StartProcessResponse> callback) override {
    return Run(&Runtime::Stub::async_interface::StartProcess, request, timeout,
               std::move(callback));
  }
  Cancel WaitProcess(const std::string& process_id,
                     Callback<runtime::v1::WaitProcessResponse> callback) override {
    runtime::v1::WaitProcessRequest request;
    request.set_process_id(process_id);
    return Run(&Runtime::Stub::async_interface::WaitProcess, request, kNoDeadline,
               std::move(callback));
  }
  void SignalProcess(const runtime::v1::SignalProcessRequest& request,
                     Callback<runtime::v1::SignalProcessResponse> callback) override {
    Run(&Runtime::Stub::async_interface::SignalProcess, request, kQuick, std::move(callback));
  }
  void ResizeTerminal(const runtime::v1::ResizeTerminalRequest& request,
                      Callback<runtime::v1::ResizeTerminalResponse> callback) override {
    Run(&Runtime::Stub::async_interface::ResizeTerminal, request, kQuick, std::move(callback));
  }
  void Stop(const runtime::v1::StopRequest& request, std::chrono::milliseconds timeout,
            Callback<runtime::v1::StopResponse> callback) override {
    Run(&Runtime::Stub::async_interface::Stop, request, timeout, std::move(callback));
  }

 private:
  static constexpr std::chrono::milliseconds kNoDeadline{0};
  static constexpr std::chrono::milliseconds kQuick{15000};

  template <typename Request, typename Response>
  Cancel Run(void (Runtime::Stub::async_interface::*method)(grpc::ClientContext*, const Request*,
                                                            Response*,
                                                            std::function<void(grpc::Status)>),
             const Request& request, std::chrono::milliseconds timeout,
             Callback<Response> callback) {
    auto call = std::make_shared<Call<Request, Response>>();
    call->stub = stub_;
    call->request = request;
    if (timeout > kNoDeadline) base::SetDeadline(call->context, timeout);
    (stub_->async()->*method)(&call->context, &call->request, &call->response,
                              [call, callback = std::move(callback)](grpc::Status status) {
                                if (!status.ok()) {
                                  callback(base::FromGrpc(status));
                                } else {
                                  callback(std::move(call->response));
                                }
                              });
    return [weak = std::weak_ptr<Call<Request, Response>>(call)] {
      if (auto alive = weak.lock()) alive->context.TryCancel();
    };
  }

  std::shared_ptr<Runtime::Stub> stub_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<RuntimeClient>> RuntimeClient::Connect(const std::string& socket) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, base::ConnectRpc(socket));
  return std::make_shared<GrpcRuntimeClient>(std::move(channel));
}

}  // namespace container::apiserver
