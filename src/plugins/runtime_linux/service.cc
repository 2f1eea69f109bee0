#include "plugins/runtime_linux/service.h"

#include <utility>

#include "base/rpc.h"

namespace container::runtime_linux {

using base::ToGrpc;

/// Counts one call for as long as it lives.
class RuntimeService::Call {
 public:
  explicit Call(RuntimeService& service) : service_(service) {
    std::lock_guard lock(service_.mutex_);
    ++service_.calls_;
  }
  ~Call() {
    std::lock_guard lock(service_.mutex_);
    if (--service_.calls_ == 0) service_.idle_.notify_all();
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

 private:
  RuntimeService& service_;
};

void RuntimeService::WaitUntilIdle(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  idle_.wait_for(lock, timeout, [&] { return calls_ == 0; });
}

grpc::Status RuntimeService::GetState(grpc::ServerContext*, const v1::GetStateRequest*,
                                      v1::GetStateResponse* response) {
  *response = container_.GetState();
  return grpc::Status::OK;
}

grpc::Status RuntimeService::StartProcess(grpc::ServerContext*,
                                          const v1::StartProcessRequest* request,
                                          v1::StartProcessResponse* response) {
  const Call call(*this);
  absl::StatusOr<v1::StartProcessResponse> result = container_.StartProcess(*request);
  if (result.ok()) *response = *std::move(result);
  return ToGrpc(result.status());
}

grpc::Status RuntimeService::WaitProcess(grpc::ServerContext*,
                                         const v1::WaitProcessRequest* request,
                                         v1::WaitProcessResponse* response) {
  const Call call(*this);
  absl::StatusOr<common::v1::ExitStatus> exit = container_.WaitProcess(request->process_id());
  if (exit.ok()) *response->mutable_exit() = *std::move(exit);
  return ToGrpc(exit.status());
}

grpc::Status RuntimeService::SignalProcess(grpc::ServerContext*,
                                           const v1::SignalProcessRequest* request,
                                           v1::SignalProcessResponse*) {
  const Call call(*this);
  return ToGrpc(container_.SignalProcess(request->process_id(), request->signal()));
}

grpc::Status RuntimeService::ResizeTerminal(grpc::ServerContext*,
                                            const v1::ResizeTerminalRequest* request,
                                            v1::ResizeTerminalResponse*) {
  const Call call(*this);
  return ToGrpc(container_.ResizeTerminal(request->process_id(), request->size().rows(),
                                          request->size().columns()));
}

grpc::Status RuntimeService::Stop(grpc::ServerContext*, const v1::StopRequest* request,
                                  v1::StopResponse* response) {
  const Call call(*this);
  absl::StatusOr<common::v1::ExitStatus> exit =
      container_.Stop(request->signal(), std::chrono::milliseconds(request->timeout_ms()));
  if (exit.ok()) *response->mutable_exit() = *std::move(exit);
  return ToGrpc(exit.status());
}

}  // namespace container::runtime_linux
