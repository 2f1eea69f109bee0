#include "plugins/runtime_linux/agent.h"

#include <utility>

#include "base/status.h"
#include "base/units.h"
#include "base/uuid.h"
#include "link/client.h"
#include "link/methods.h"

namespace container::runtime_linux {
namespace {

using link::VminitdMethod;

constexpr size_t kEntropyBytes = 64;

class LinkProcessStream final : public ProcessStream {
 public:
  explicit LinkProcessStream(std::unique_ptr<link::Call> call) : call_(std::move(call)) {}

  bool Read(guest::ProcessOutput* output) override {
    std::string message;
    if (!call_->Read(&message)) return false;
    if (output->ParseFromString(message)) return true;
    malformed_ = true;
    call_->Cancel();
    return false;
  }
  bool Write(const guest::ProcessInput& input) override {
    return call_->Write(input.SerializeAsString());
  }
  void Cancel() override { call_->Cancel(); }
  absl::Status Finish() override {
    absl::Status status = call_->Finish();
    if (malformed_) return absl::DataLossError("the guest's message can't be decoded");
    return status;
  }

 private:
  const std::unique_ptr<link::Call> call_;
  bool malformed_ = false;  // of the reading thread, which joins before Finish
};

class LinkAgent final : public Agent {
 public:
  explicit LinkAgent(std::unique_ptr<link::Client> client) : client_(std::move(client)) {}

  absl::StatusOr<guest::HelloResponse> Begin(const guest::CreateContainerRequest* container,
                                             const std::function<void()>& sent,
                                             milliseconds timeout) override {
    guest::HelloRequest request;
    request.set_entropy(base::RandomBytes(kEntropyBytes));
    request.set_wall_clock_ns(base::NanosecondsOf(std::chrono::system_clock::now()));
    std::unique_ptr<link::Call> hello = Start(VminitdMethod::kHello, request);
    std::unique_ptr<link::Call> create;
    if (container != nullptr) create = Start(VminitdMethod::kCreateContainer, *container);
    if (sent) sent();
    guest::HelloResponse response;
    RETURN_IF_ERROR(Await(*hello, timeout, response), "greet the guest");
    if (create != nullptr) {
      guest::CreateContainerResponse created;
      RETURN_IF_ERROR(Await(*create, timeout, created), "make the container in the guest");
    }
    return response;
  }

  std::unique_ptr<ProcessStream> RunProcess(const guest::StartProcess& start) override {
    guest::ProcessInput input;
    *input.mutable_start() = start;
    return std::make_unique<LinkProcessStream>(Start(VminitdMethod::kRunProcess, input));
  }

  absl::Status Signal(const std::string& container_id, const std::string& process_id, int signal,
                      milliseconds timeout) override {
    guest::SignalProcessRequest request;
    request.set_container_id(container_id);
    request.set_process_id(process_id);
    request.set_signal(signal);
    guest::SignalProcessResponse response;
    return Await(*Start(VminitdMethod::kSignalProcess, request), timeout, response);
  }

  absl::Status Resize(const std::string& container_id, const std::string& process_id, uint32_t rows,
                      uint32_t columns, milliseconds timeout) override {
    guest::ResizeTerminalRequest request;
    request.set_container_id(container_id);
    request.set_process_id(process_id);
    request.mutable_size()->set_rows(rows);
    request.mutable_size()->set_columns(columns);
    guest::ResizeTerminalResponse response;
    return Await(*Start(VminitdMethod::kResizeTerminal, request), timeout, response);
  }

  absl::Status PowerOff(milliseconds timeout) override {
    guest::PowerOffResponse response;
    return Await(*Start(VminitdMethod::kPowerOff, guest::PowerOffRequest()), timeout, response);
  }

 private:
  template <typename Request>
  std::unique_ptr<link::Call> Start(VminitdMethod method, const Request& request) {
    return client_->Start(static_cast<uint16_t>(method), request.SerializeAsString());
  }

  template <typename Response>
  static absl::Status Await(link::Call& call, milliseconds timeout, Response& response) {
    ASSIGN_OR_RETURN(std::string bytes, call.Await(timeout));
    if (response.ParseFromString(bytes)) return absl::OkStatus();
    return absl::DataLossError("the guest's answer can't be decoded");
  }

  const std::unique_ptr<link::Client> client_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Agent>> Agent::Connect(base::Fd port) {
  ASSIGN_OR_RETURN(std::unique_ptr<link::Client> client, link::Client::Create(std::move(port)));
  return std::make_unique<LinkAgent>(std::move(client));
}

}  // namespace container::runtime_linux
