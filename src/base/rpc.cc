#include "base/rpc.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "grpcpp/create_channel_posix.h"
#include "grpcpp/server_posix.h"

namespace container::base {

absl::Status FromGrpc(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::string(status.message()));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectRpc(const std::string& socket_path) {
  ASSIGN_OR_RETURN(Fd fd, ConnectUnix(socket_path));
  return ConnectRpc(std::move(fd));
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> ConnectRpc(Fd connected) {
  RETURN_IF_ERROR(SetNonBlocking(connected.get(), true));
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(kMaxRpcMessageBytes);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  // A second channel in this process must not share the first one's dead connection.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  // gRPC owns the descriptor from here.
  return grpc::CreateCustomInsecureChannelFromFd("localhost", connected.Release(), arguments);
}

void SetDeadline(grpc::ClientContext& context, std::chrono::milliseconds timeout) {
  context.set_deadline(std::chrono::system_clock::now() + timeout);
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    Fd listener, const std::vector<grpc::Service*>& services) {
  return Start(std::move(listener), services, nullptr);
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(
    Fd listener, const std::vector<grpc::Service*>& services,
    grpc::CallbackGenericService* generic) {
  grpc::ServerBuilder builder;
  for (grpc::Service* service : services) builder.RegisterService(service);
  if (generic != nullptr) builder.RegisterCallbackGenericService(generic);
  builder.SetMaxReceiveMessageSize(kMaxRpcMessageBytes);
  builder.SetSyncServerOption(grpc::ServerBuilder::NUM_CQS, 1);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::InternalError("gRPC could not start a server");
  Fd wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return ErrnoStatus("eventfd");
  // Woken for a connection that is gone again, accept must not block past Shutdown.
  RETURN_IF_ERROR(SetNonBlocking(listener.get(), true));
  return std::unique_ptr<RpcServer>(
      new RpcServer(std::move(listener), std::move(wake), std::move(server)));
}

RpcServer::RpcServer(Fd listener, Fd wake, std::unique_ptr<grpc::Server> server)
    : listener_(std::move(listener)),
      wake_(std::move(wake)),
      server_(std::move(server)),
      accept_thread_([this] { AcceptLoop(); }) {}

void RpcServer::AcceptLoop() {
  for (;;) {
    std::array<pollfd, 2> polls = {pollfd{listener_.get(), POLLIN, 0},
                                   pollfd{wake_.get(), POLLIN, 0}};
    if (::poll(polls.data(), polls.size(), -1) < 0 && errno != EINTR) return;
    if (polls[1].revents != 0) return;
    if (polls[0].revents == 0) continue;
    Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        // The connection stays in the backlog; give those under way a moment to end.
        spdlog::warn("can't accept a connection error={}", errno);
        ::poll(&polls[1], 1, 100);
      }
      continue;
    }
    if (absl::Status peer = CheckPeer(fd.get()); !peer.ok()) {
      spdlog::warn("refused a connection reason=\"{}\"", std::string(peer.message()));
      continue;
    }
    grpc::AddInsecureChannelFromFd(server_.get(), fd.Release());
  }
}

void RpcServer::Shutdown(std::chrono::milliseconds grace) {
  const uint64_t one = 1;
  [[maybe_unused]] ssize_t ignored = ::write(wake_.get(), &one, sizeof one);
  if (accept_thread_.joinable()) accept_thread_.join();
  server_->Shutdown(std::chrono::system_clock::now() + grace);
}

RpcServer::~RpcServer() { Shutdown(std::chrono::milliseconds(0)); }

}  // namespace container::base
