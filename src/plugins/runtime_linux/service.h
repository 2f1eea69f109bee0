// proto/runtime.proto served for one container: decodes, calls, encodes.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "plugins/runtime_linux/container.h"
#include "proto/runtime.grpc.pb.h"

namespace container::runtime_linux {

/// Each waiting call holds a thread; there are few, and an idle one costs some 20 KiB.
class RuntimeService final : public v1::Runtime::Service {
 public:
  explicit RuntimeService(Container& container) : container_(container) {}

  /// Returns when no call is under way, at the latest after `timeout`.
  void WaitUntilIdle(std::chrono::milliseconds timeout);

  grpc::Status GetState(grpc::ServerContext* context, const v1::GetStateRequest* request,
                        v1::GetStateResponse* response) override;
  grpc::Status StartProcess(grpc::ServerContext* context, const v1::StartProcessRequest* request,
                            v1::StartProcessResponse* response) override;
  grpc::Status WaitProcess(grpc::ServerContext* context, const v1::WaitProcessRequest* request,
                           v1::WaitProcessResponse* response) override;
  grpc::Status SignalProcess(grpc::ServerContext* context, const v1::SignalProcessRequest* request,
                             v1::SignalProcessResponse* response) override;
  grpc::Status ResizeTerminal(grpc::ServerContext* context,
                              const v1::ResizeTerminalRequest* request,
                              v1::ResizeTerminalResponse* response) override;
  grpc::Status Stop(grpc::ServerContext* context, const v1::StopRequest* request,
                    v1::StopResponse* response) override;

 private:
  class Call;

  Container& container_;
  std::mutex mutex_;
  std::condition_variable idle_;
  int calls_ = 0;
};

}  // namespace container::runtime_linux
