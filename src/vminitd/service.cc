#include "vminitd/service.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/utsname.h>

#include <deque>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "link/methods.h"
#include "link/server.h"
#include "vminitd/clock_and_entropy.h"
#include "vminitd/guest_log.h"

namespace container::vminitd {
namespace {

using link::VminitdMethod;

constexpr size_t kMaxFailureTextBytes = 4096;

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

template <typename Message>
absl::Status Parse(absl::string_view bytes, Message& message) {
  if (message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return absl::OkStatus();
  return absl::InvalidArgumentError("the request can't be decoded");
}

// One call of RunProcess. What comes of it is told to the Process by tasks posted to the loop, the
// last of which ends this object.
class RunProcessCall final : public link::StreamEvents, public ProcessStream {
 public:
  RunProcessCall(Supervisor* supervisor, link::Server* server, uint32_t id, absl::string_view first)
      : supervisor_(supervisor), server_(server), id_(id), process_(supervisor->AddProcess(this)) {
    messages_.emplace_back(first);
    Read();
  }

  void Read() override {
    reading_ = true;
    Deliver();
  }
  const v1::ProcessInput& input() const override { return input_; }
  v1::ProcessOutput& output() override { return output_; }
  void Write() override { server_->Send(id_, output_.SerializeAsString()); }
  void WriteLast() override {
    if (output_.has_exec_failed()) Shorten(*output_.mutable_exec_failed()->mutable_message());
    server_->SendLast(id_, output_.SerializeAsString());
    End();
  }
  void Finish(absl::Status status) override {
    server_->Respond(id_, status);
    End();
  }

  void OnMessage(absl::string_view message) override {
    messages_.emplace_back(message);
    Deliver();
  }
  void OnClose() override {
    closed_ = true;
    Deliver();
  }
  void OnSent() override {
    Post([this] { process_->OnWritten(true); });
  }
  void OnCancel() override {
    Post([this] { process_->OnCancel(); });
  }

 private:
  void Post(EventLoop::Task task) { supervisor_->loop().Post(std::move(task)); }

  void Deliver() {
    if (!reading_ || (messages_.empty() && !closed_)) return;
    reading_ = false;
    if (messages_.empty()) return Post([this] { process_->OnInput(false); });
    const std::string message = std::move(messages_.front());
    messages_.pop_front();
    const bool first = !std::exchange(begun_, true);
    // The first one came with the request, which takes no credit.
    if (!first) server_->Consumed(id_, message.size());
    if (!input_.ParseFromString(message)) {
      // As the start it is refused, later it stands for nothing.
      input_.Clear();
    }
    Post([this] { process_->OnInput(true); });
  }

  // A message to the host is small, whatever the program is called.
  static void Shorten(std::string& text) {
    if (text.size() <= kMaxFailureTextBytes) return;
    size_t end = kMaxFailureTextBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
    text.resize(end);
  }

  void End() {
    Post([this] {
      supervisor_->Drop(process_);
      delete this;
    });
  }

  Supervisor* const supervisor_;
  link::Server* const server_;
  const uint32_t id_;
  Process* const process_;
  std::deque<std::string> messages_;  // bounded by the stream's credit
  bool reading_ = false;
  bool begun_ = false;
  bool closed_ = false;
  v1::ProcessInput input_;
  v1::ProcessOutput output_;
};

class PortServer final : public AgentServer, public link::Server::Handler {
 public:
  PortServer(Supervisor* supervisor, base::Fd port)
      : supervisor_(supervisor), port_(std::move(port)), server_(port_.get(), this) {}
  ~PortServer() override { supervisor_->loop().Unwatch(port_.get()); }

  absl::Status Watch() {
    // While the host's side is closed a port reads as ended and polls as hung up: only an edge
    // tells when that changes.
    return supervisor_->loop().Watch(port_.get(), EPOLLIN | EPOLLOUT | EPOLLET,
                                     [this] { OnEdge(); });
  }

  void OnCall(uint32_t stream, uint16_t method, absl::string_view request) override {
    switch (static_cast<VminitdMethod>(method)) {
      case VminitdMethod::kHello:
        return Answer<v1::HelloRequest, v1::HelloResponse>(stream, request, Greet);
      case VminitdMethod::kCreateContainer:
        return CreateContainer(stream, request);
      case VminitdMethod::kRunProcess:
        server_.Attach(stream, new RunProcessCall(supervisor_, &server_, stream, request));
        return;
      case VminitdMethod::kSignalProcess:
        return Answer<v1::SignalProcessRequest, v1::SignalProcessResponse>(
            stream, request,
            [this](const auto& decoded, auto&) { return supervisor_->Signal(decoded); });
      case VminitdMethod::kResizeTerminal:
        return Answer<v1::ResizeTerminalRequest, v1::ResizeTerminalResponse>(
            stream, request,
            [this](const auto& decoded, auto&) { return supervisor_->Resize(decoded); });
      case VminitdMethod::kPowerOff:
        server_.Respond(stream, absl::OkStatus());
        // The answer first: it may still get out.
        supervisor_->loop().Post([this] { supervisor_->PowerOff(); });
        return;
    }
    server_.Respond(stream, absl::UnimplementedError(absl::StrCat("there is no method ", method)));
  }

 private:
  template <typename Request, typename Response, typename Function>
  void Answer(uint32_t stream, absl::string_view bytes, Function function) {
    Request request;
    Response response;
    absl::Status status = Parse(bytes, request);
    if (status.ok()) status = function(request, response);
    server_.Respond(stream, status, status.ok() ? response.SerializeAsString() : std::string());
  }

  void CreateContainer(uint32_t stream, absl::string_view bytes) {
    v1::CreateContainerRequest request;
    if (absl::Status parsed = Parse(bytes, request); !parsed.ok()) {
      return server_.Respond(stream, parsed);
    }
    supervisor_->CreateContainer(
        request, [this, stream](absl::Status status) { server_.Respond(stream, status); });
  }

  void OnEdge() {
    if (ended_) return;
    const absl::Status status = server_.OnReadable();
    server_.OnWritable();
    // The host has not opened its side yet.
    if (status.ok() || (absl::IsUnavailable(status) && !server_.connected())) return;
    ended_ = true;
    Log("agent port: %s", std::string(status.message()).c_str());
    supervisor_->PowerOff();
  }

  Supervisor* const supervisor_;
  const base::Fd port_;
  link::Server server_;
  bool ended_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<AgentServer>> AgentServer::Create(Supervisor* supervisor,
                                                                 base::Fd port) {
  auto server = std::make_unique<PortServer>(supervisor, std::move(port));
  RETURN_IF_ERROR(server->Watch());
  return server;
}

}  // namespace container::vminitd
