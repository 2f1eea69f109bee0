// Calls to one runtime helper (proto/runtime.proto), without gRPC's headers.
//
// Blocking calls have a deadline. Callbacks of the others run on a thread of gRPC's and must not
// block. When the helper dies, calls end with UNAVAILABLE. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "proto/runtime.pb.h"

namespace container::apiserver {

class RuntimeClient {
 public:
  template <typename Response>
  using Callback = std::function<void(absl::StatusOr<Response>)>;
  /// Ends the call early, with CANCELLED; harmless after its end.
  using Cancel = std::function<void()>;

  static absl::StatusOr<std::shared_ptr<RuntimeClient>> Connect(const std::string& socket);
  virtual ~RuntimeClient() = default;

  virtual absl::StatusOr<runtime::v1::GetStateResponse> GetState(
      std::chrono::milliseconds timeout) = 0;
  virtual Cancel StartProcess(const runtime::v1::StartProcessRequest& request,
                              std::chrono::milliseconds timeout,
                              Callback<runtime::v1::StartProcessResponse> callback) = 0;
  virtual Cancel WaitProcess(const std::string& process_id,
                             Callback<runtime::v1::WaitProcessResponse> callback) = 0;
  virtual void SignalProcess(const runtime::v1::SignalProcessRequest& request,
                             Callback<runtime::v1::SignalProcessResponse> callback) = 0;
  virtual void ResizeTerminal(const runtime::v1::ResizeTerminalRequest& request,
                              Callback<runtime::v1::ResizeTerminalResponse> callback) = 0;
  virtual void Stop(const runtime::v1::StopRequest& request, std::chrono::milliseconds timeout,
                    Callback<runtime::v1::StopResponse> callback) = 0;
};

}  // namespace container::apiserver
