// Passes calls of one gRPC service on to another server, unread: messages in both directions, the
// deadline, cancellation and the final status. One call at a time may be under way in each
// direction of a stream, so a slow reader slows the sender and nothing piles up here.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "grpcpp/generic/async_generic_service.h"
#include "grpcpp/grpcpp.h"

namespace container::apiserver {

class Proxy : public grpc::CallbackGenericService {
 public:
  using ChannelDone = std::function<void(absl::StatusOr<std::shared_ptr<grpc::Channel>>)>;
  /// Gives a channel, sooner or later; called from gRPC's threads, must not block.
  using Connect = std::function<void(ChannelDone)>;

  /// `service`: "container.images.v1.Images"; calls of others end with UNIMPLEMENTED.
  Proxy(std::string service, Connect connect)
      : prefix_("/" + service + "/"), connect_(std::move(connect)) {}

  grpc::ServerGenericBidiReactor* CreateReactor(
      grpc::GenericCallbackServerContext* context) override;

 private:
  const std::string prefix_;
  const Connect connect_;
};

}  // namespace container::apiserver
