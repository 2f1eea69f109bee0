// gRPC over Unix sockets whose peers are checked, and statuses across the wire.
//
// Every connection is made or accepted here as a plain socket (SO_PEERCRED checked) and then handed
// to gRPC: a server that is not there is an error at once, not after a back-off.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fd.h"
#include "grpcpp/grpcpp.h"

namespace container::base {

/// The longest message either side accepts.
inline constexpr int kMaxRpcMessageBytes = 16 << 20;

/// The codes of absl and gRPC are the same numbers; the message passes unchanged.
absl::Status FromGrpc(const grpc::Status& status);
grpc::Status ToGrpc(const absl::Status& status);

/// A client channel over a connection of its own. It does not reconnect: when the server dies,
/// calls fail with UNAVAILABLE and a new channel must be made. NOT_FOUND or UNAVAILABLE if no
/// server listens at `socket_path`.
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectRpc(const std::string& socket_path);

/// The same over a socket that is connected already (made non-blocking).
absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectRpc(Fd connected);

/// Sets a deadline that many milliseconds from now.
void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds timeout);

/// Serves `services` (not owned; must outlive the object) on a listening Unix socket.
class RpcServer {
 public:
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      Fd listener, const std::vector<grpc::Service*>& services);
  /// With a generic service too, which gets the calls that no service of `services` has.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(
      Fd listener, const std::vector<grpc::Service*>& services,
      grpc::CallbackGenericService* generic);

  /// Stops accepting, and cancels calls that are still under way after `grace`.
  void Shutdown(std::chrono::milliseconds grace);
  ~RpcServer();

 private:
  RpcServer(Fd listener, Fd wake, std::unique_ptr<grpc::Server> server);
  void AcceptLoop();
  Fd listener_;
  Fd wake_;  // eventfd that ends the accept loop
  std::unique_ptr<grpc::Server> server_;
  std::thread accept_thread_;
};

}  // namespace container::base
