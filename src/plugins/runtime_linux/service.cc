#include "plugins/runtime_linux/service.h"

#include <utility>

#include "base/rpc.h"

namespace container::runtime_linux {

using base::ToGrpc;

grpc::Status RuntimeService::GetState(grpc::ServerContext*, const v1::GetStateRequest*,
                                      v1::GetStateResponse* response) {
  *response = container_.GetState();
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StartProcess(grpc::ServerContext*,
                                          const v1::StartProcessRequest* request,
                                          v1::StartProcessResponse* response) {
  absl::StatusOr<v1::StartProcessResponse> result = container_.StartProcess(*request);
  if (result.ok()) *response = *std::move(result);
  return ToGrpc(result.status());
}

grpc::Status RuntimeService::WaitProcess(grpc::ServerContext*,
                                         const v1::WaitProcessRequest* request,
                                         v1::WaitProcessResponse* response) {
  absl::StatusOr<common::v1::ExitStatus> exit = container_.WaitProcess(request->process_id());
  if (exit.ok()) *response->mutable_exit() = *std::move(exit);
  return ToGrpc(exit.status());
}

grpc::Status RuntimeService::SignalProcess(grpc::ServerContext*,
                                           const v1::SignalProcessRequest* request,
                                           v1::SignalProcessResponse*) {
  return ToGrpc(container_.SignalProcess(request->process_id(), request->signal()));
}

grpc::Status RuntimeService::ResizeTerminal(grpc::ServerContext*,
                                            const v1::ResizeTerminalRequest* request,
                                            v1::ResizeTerminalResponse*) {
  return ToGrpc(container_.ResizeTerminal(request->process_id(), request->size().rows(),
                                          request->size().columns()));
}

grpc::Status RuntimeService::Stop(grpc::ServerContext*, const v1::StopRequest* request,
                                  v1::StopResponse* response) {
  absl::StatusOr<common::v1::ExitStatus> exit =
      container_.Stop(request->signal(), std::chrono::milliseconds(request->timeout_ms()));
  if (exit.ok()) *response->mutable_exit() = *std::move(exit);
  return ToGrpc(exit.status());
}

}  // namespace container::runtime_linux
