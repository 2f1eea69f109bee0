#include "cli/client.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/rpc.h"
#include "base/status.h"
#include "cli/output/print.h"
#include "nlohmann/json.hpp"
#include "proto/apiserver.grpc.pb.h"
#include "proto/images.grpc.pb.h"

namespace container::cli {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
namespace api = ::container::apiserver::v1;
namespace img = ::container::images::v1;

/// Answers out of the apiserver's own state.
constexpr seconds kQueryTimeout(30);
/// Booting a VM under emulation, next to others that do the same.
constexpr minutes kStartTimeout(5);
/// Removing and copying files, waiting for a turn in a container's queue.
constexpr minutes kChangeTimeout(2);
// A registry that does not answer is tried several times.
constexpr minutes kLoginTimeout(5);
/// Between the moment a container should have been stopped and the answer.
constexpr minutes kStopSlack(1);

common::v1::Stdio ToProto(const StdioSockets& stdio) {
  common::v1::Stdio proto;
  proto.set_stdin_socket(stdio.in);
  proto.set_stdout_socket(stdio.out);
  proto.set_stderr_socket(stdio.error);
  return proto;
}

common::v1::TerminalSize ToProto(TerminalSize size) {
  common::v1::TerminalSize proto;
  proto.set_rows(size.rows);
  proto.set_columns(size.columns);
  return proto;
}

ProgressEvent FromProto(const common::v1::Progress& proto) {
  return {proto.task_id(),
          proto.description(),
          proto.completed(),
          proto.total(),
          proto.unit() == common::v1::Progress::UNIT_BYTES,
          proto.done()};
}

img::PullRequest::Scheme SchemeOf(const std::string& scheme) {
  return scheme == "http"    ? img::PullRequest::HTTP
         : scheme == "https" ? img::PullRequest::HTTPS
                             : img::PullRequest::AUTO;
}

template <typename Response>
std::optional<ExecFailure> FailureOf(const Response& response) {
  if (!response.has_exec_failure()) return std::nullopt;
  return ExecFailure{response.exec_failure().exit_code(), response.exec_failure().message()};
}

}  // namespace

struct Client::Stubs {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<api::Containers::Stub> containers;
  std::unique_ptr<api::System::Stub> system;
  std::unique_ptr<img::Images::Stub> images;
  bool debug = false;

  /// Makes the status of a call, and with --debug a line about it.
  absl::Status Finish(const char* name, std::chrono::steady_clock::time_point begun,
                      const grpc::Status& status) const {
    if (debug) {
      const double ms =
          std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begun)
              .count();
      PrintHint(absl::StrFormat("debug: %s took %.1f ms, code %d %s", name, ms,
                                static_cast<int>(status.error_code()), status.error_message()));
    }
    absl::Status result = base::FromGrpc(status);
    // Nobody here cancels a call that is finished: it was a server that shut down.
    const bool cancelled = result.code() == absl::StatusCode::kCancelled;
    if (cancelled ||
        (result.code() == absl::StatusCode::kUnavailable &&
         (result.message().empty() || absl::StrContains(result.message(), "Socket closed") ||
          absl::StrContains(result.message(), "failed to connect") ||
          absl::StrContains(result.message(), "Connection reset")))) {
      // gRPC's own words for a server that went away.
      return WithHint(absl::UnavailableError("container-apiserver ended during the call"),
                      "Start it again with: container system start");
    }
    if (result.code() == absl::StatusCode::kDeadlineExceeded) {
      return WithHint(result, "See what it is doing with: container system logs");
    }
    return result;
  }

  template <typename Stub, typename Request, typename Response>
  absl::Status Call(const char* name, Stub& stub,
                    grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                    const Request& request, Response* response,
                    std::optional<std::chrono::milliseconds> timeout) const {
    const auto begun = std::chrono::steady_clock::now();
    grpc::ClientContext context;
    if (timeout.has_value()) base::SetDeadline(context, *timeout);
    return Finish(name, begun, (stub.*method)(&context, request, response));
  }
};

Client::Client(std::unique_ptr<Stubs> stubs) : stubs_(std::move(stubs)) {}
Client::~Client() = default;

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(bool debug) {
  ASSIGN_OR_RETURN(base::Paths paths, base::Paths::FromEnvironment());
  return Connect(paths, debug);
}

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const base::Paths& paths, bool debug) {
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel =
      base::ConnectRpc(paths.ApiserverSocket());
  if (absl::IsNotFound(channel.status()) || absl::IsUnavailable(channel.status())) {
    return absl::UnavailableError(
        absl::StrCat(kNotRunning, "; start it with: container system start"));
  }
  RETURN_IF_ERROR(channel.status(), "connect to container-apiserver");
  auto stubs = std::make_unique<Stubs>();
  stubs->channel = *std::move(channel);
  stubs->containers = api::Containers::NewStub(stubs->channel);
  stubs->system = api::System::NewStub(stubs->channel);
  stubs->images = img::Images::NewStub(stubs->channel);
  stubs->debug = debug;
  return std::unique_ptr<Client>(new Client(std::move(stubs)));
}

absl::StatusOr<std::string> Client::Create(const std::string& options_json) {
  api::CreateRequest request;
  request.set_options_json(options_json);
  api::CreateResponse response;
  RETURN_IF_ERROR(stubs_->Call("Containers.Create", *stubs_->containers,
                               &api::Containers::Stub::Create, request, &response, kStartTimeout));
  return response.id();
}

absl::StatusOr<std::optional<ExecFailure>> Client::Start(const std::string& id,
                                                         const StdioSockets& stdio,
                                                         TerminalSize size) {
  api::StartRequest request;
  request.set_id(id);
  *request.mutable_stdio() = ToProto(stdio);
  *request.mutable_size() = ToProto(size);
  api::StartResponse response;
  RETURN_IF_ERROR(stubs_->Call("Containers.Start", *stubs_->containers,
                               &api::Containers::Stub::Start, request, &response, kStartTimeout));
  return FailureOf(response);
}

absl::StatusOr<std::optional<ExecFailure>> Client::Exec(const std::string& id,
                                                        const std::string& process_id,
                                                        const std::string& options_json,
                                                        const StdioSockets& stdio,
                                                        TerminalSize size) {
  api::ExecRequest request;
  request.set_id(id);
  request.set_process_id(process_id);
  request.set_options_json(options_json);
  *request.mutable_stdio() = ToProto(stdio);
  *request.mutable_size() = ToProto(size);
  api::ExecResponse response;
  RETURN_IF_ERROR(stubs_->Call("Containers.Exec", *stubs_->containers, &api::Containers::Stub::Exec,
                               request, &response, kStartTimeout));
  return FailureOf(response);
}

absl::StatusOr<int> Client::Wait(const std::string& id, const std::string& process_id) {
  api::WaitRequest request;
  request.set_id(id);
  request.set_process_id(process_id);
  api::WaitResponse response;
  RETURN_IF_ERROR(stubs_->Call("Containers.Wait", *stubs_->containers, &api::Containers::Stub::Wait,
                               request, &response, std::nullopt));
  return response.exit().exit_code();
}

absl::Status Client::Signal(const std::string& id, const std::string& process_id, int signal) {
  api::SignalRequest request;
  request.set_id(id);
  request.set_process_id(process_id);
  request.set_signal(signal);
  api::SignalResponse response;
  return stubs_->Call("Containers.Signal", *stubs_->containers, &api::Containers::Stub::Signal,
                      request, &response, kQueryTimeout);
}

absl::Status Client::Resize(const std::string& id, const std::string& process_id,
                            TerminalSize size) {
  api::ResizeRequest request;
  request.set_id(id);
  request.set_process_id(process_id);
  *request.mutable_size() = ToProto(size);
  api::ResizeResponse response;
  return stubs_->Call("Containers.Resize", *stubs_->containers, &api::Containers::Stub::Resize,
                      request, &response, kQueryTimeout);
}

absl::Status Client::Stop(const std::string& id, int signal, std::chrono::milliseconds timeout) {
  api::StopRequest request;
  request.set_id(id);
  request.set_signal(signal);
  request.set_timeout_ms(timeout.count());
  api::StopResponse response;
  // The container's own timeout is not known here; it may be long.
  const std::chrono::milliseconds deadline =
      timeout.count() < 0 ? std::chrono::milliseconds(minutes(15)) : timeout + kStopSlack;
  return stubs_->Call("Containers.Stop", *stubs_->containers, &api::Containers::Stub::Stop, request,
                      &response, deadline);
}

absl::Status Client::Delete(const std::string& id, bool force) {
  api::DeleteRequest request;
  request.set_id(id);
  request.set_force(force);
  api::DeleteResponse response;
  return stubs_->Call("Containers.Delete", *stubs_->containers, &api::Containers::Stub::Delete,
                      request, &response, kChangeTimeout);
}

absl::StatusOr<std::vector<std::string>> Client::List(bool all) {
  api::ListRequest request;
  request.set_all(all);
  api::ListResponse response;
  RETURN_IF_ERROR(stubs_->Call("Containers.List", *stubs_->containers, &api::Containers::Stub::List,
                               request, &response, kQueryTimeout));
  return std::vector<std::string>(response.container_json().begin(),
                                  response.container_json().end());
}

absl::StatusOr<std::string> Client::Get(const std::string& id) {
  api::GetRequest request;
  request.set_id(id);
  api::GetResponse response;
  RETURN_IF_ERROR(stubs_->Call("Containers.Get", *stubs_->containers, &api::Containers::Stub::Get,
                               request, &response, kQueryTimeout));
  return response.container_json();
}

absl::Status Client::Logs(const std::string& id, bool follow, int64_t tail, bool boot,
                          const OnLog& on_log) {
  const auto begun = std::chrono::steady_clock::now();
  api::LogsRequest request;
  request.set_id(id);
  request.set_follow(follow);
  request.set_tail(tail);
  request.set_boot(boot);
  grpc::ClientContext context;
  auto reader = stubs_->containers->Logs(&context, request);
  api::LogsResponse response;
  while (reader->Read(&response)) {
    if (!on_log({response.data(), response.stderr(), response.time_ns()})) {
      context.TryCancel();
      reader->Finish();
      return absl::OkStatus();
    }
  }
  return stubs_->Finish("Containers.Logs", begun, reader->Finish());
}

absl::StatusOr<std::string> Client::PullImage(const PullOptions& options,
                                              const OnProgress& on_progress) {
  const auto begun = std::chrono::steady_clock::now();
  img::PullRequest request;
  request.set_reference(options.reference);
  request.set_platform(options.platform);
  request.set_scheme(SchemeOf(options.scheme));
  request.set_max_concurrent_downloads(options.max_concurrent_downloads);
  grpc::ClientContext context;
  auto reader = stubs_->images->Pull(&context, request);
  img::ImageEvent event;
  std::string image;
  while (reader->Read(&event)) {
    if (event.has_progress()) on_progress(FromProto(event.progress()));
    if (!event.image_json().empty()) image = event.image_json();
  }
  RETURN_IF_ERROR(stubs_->Finish("Images.Pull", begun, reader->Finish()));
  if (image.empty()) return absl::InternalError("the image service reported no image");
  return image;
}

absl::StatusOr<std::vector<std::string>> Client::LoadImages(const std::string& path,
                                                            const OnProgress& on_progress) {
  const auto begun = std::chrono::steady_clock::now();
  img::LoadRequest request;
  request.set_path(path);
  grpc::ClientContext context;
  auto reader = stubs_->images->Load(&context, request);
  img::ImageEvent event;
  std::vector<std::string> images;
  while (reader->Read(&event)) {
    if (event.has_progress()) on_progress(FromProto(event.progress()));
    if (!event.image_json().empty()) images.push_back(event.image_json());
  }
  RETURN_IF_ERROR(stubs_->Finish("Images.Load", begun, reader->Finish()));
  return images;
}

absl::StatusOr<std::vector<std::string>> Client::ListImages() {
  img::ListRequest request;
  img::ListResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.List", *stubs_->images, &img::Images::Stub::List, request,
                               &response, kQueryTimeout));
  return std::vector<std::string>(response.image_json().begin(), response.image_json().end());
}

absl::StatusOr<std::string> Client::GetImage(const std::string& reference) {
  img::GetRequest request;
  request.set_reference(reference);
  img::GetResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.Get", *stubs_->images, &img::Images::Stub::Get, request,
                               &response, kQueryTimeout));
  return response.image_json();
}

absl::StatusOr<std::string> Client::TagImage(const std::string& source, const std::string& target) {
  img::TagRequest request;
  request.set_source(source);
  request.set_target(target);
  img::TagResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.Tag", *stubs_->images, &img::Images::Stub::Tag, request,
                               &response, kQueryTimeout));
  return response.image_json();
}

absl::StatusOr<DeletedImage> Client::DeleteImage(const std::string& reference) {
  img::DeleteRequest request;
  request.set_reference(reference);
  img::DeleteResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.Delete", *stubs_->images, &img::Images::Stub::Delete,
                               request, &response, kChangeTimeout));
  return DeletedImage{response.name(), response.reclaimed_bytes()};
}

absl::StatusOr<PushedImage> Client::PushImage(const PushOptions& options,
                                              const OnProgress& on_progress) {
  const auto begun = std::chrono::steady_clock::now();
  img::PushRequest request;
  request.set_reference(options.reference);
  request.set_platform(options.platform);
  request.set_scheme(SchemeOf(options.scheme));
  request.set_max_concurrent_uploads(options.max_concurrent_uploads);
  grpc::ClientContext context;
  auto reader = stubs_->images->Push(&context, request);
  img::PushEvent event;
  PushedImage pushed;
  while (reader->Read(&event)) {
    if (event.has_progress()) on_progress(FromProto(event.progress()));
    if (event.name().empty()) continue;
    pushed.name = event.name();
    const auto descriptor = nlohmann::json::parse(event.descriptor_json(), nullptr, false);
    if (descriptor.is_object()) pushed.digest = descriptor.value("digest", "");
  }
  RETURN_IF_ERROR(stubs_->Finish("Images.Push", begun, reader->Finish()));
  return pushed;
}

absl::StatusOr<std::vector<std::string>> Client::SaveImages(
    const SaveOptions& options, const OnProgress& on_progress,
    const std::function<absl::Status(const std::string&)>& on_data) {
  const auto begun = std::chrono::steady_clock::now();
  img::SaveRequest request;
  for (const std::string& reference : options.references) request.add_references(reference);
  request.set_platform(options.platform);
  request.set_path(options.path);
  grpc::ClientContext context;
  auto reader = stubs_->images->Save(&context, request);
  img::SaveEvent event;
  std::vector<std::string> names;
  while (reader->Read(&event)) {
    if (event.has_progress()) on_progress(FromProto(event.progress()));
    if (!event.data().empty()) {
      const absl::Status written = on_data(event.data());
      if (!written.ok()) {
        context.TryCancel();
        reader->Finish();
        return written;
      }
    }
    for (const std::string& name : event.names()) names.push_back(name);
  }
  RETURN_IF_ERROR(stubs_->Finish("Images.Save", begun, reader->Finish()));
  return names;
}

absl::StatusOr<PrunedImages> Client::PruneImages(const PruneOptions& options) {
  img::PruneRequest request;
  request.set_all(options.all);
  for (const std::string& name : options.in_use_references) request.add_in_use_references(name);
  for (const std::string& digest : options.in_use_digests) request.add_in_use_digests(digest);
  img::PruneResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.Prune", *stubs_->images, &img::Images::Stub::Prune, request,
                               &response, kChangeTimeout));
  return PrunedImages{{response.names().begin(), response.names().end()},
                      response.reclaimed_bytes()};
}

absl::StatusOr<ImageUsage> Client::GetImageUsage(const PruneOptions& in_use) {
  img::DiskUsageRequest request;
  for (const std::string& name : in_use.in_use_references) request.add_in_use_references(name);
  for (const std::string& digest : in_use.in_use_digests) request.add_in_use_digests(digest);
  img::DiskUsageResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.DiskUsage", *stubs_->images, &img::Images::Stub::DiskUsage,
                               request, &response, kChangeTimeout));
  return ImageUsage{response.images(),        response.images_in_use(),
                    response.blob_bytes(),    response.reclaimable_blob_bytes(),
                    response.roots(),         response.roots_in_use(),
                    response.root_bytes(),    response.reclaimable_root_bytes(),
                    response.leftover_bytes()};
}

absl::StatusOr<StoreVerification> Client::VerifyImages(const OnProgress& on_progress) {
  const auto begun = std::chrono::steady_clock::now();
  grpc::ClientContext context;
  auto reader = stubs_->images->Verify(&context, img::VerifyRequest());
  img::VerifyEvent event;
  StoreVerification result;
  while (reader->Read(&event)) {
    if (event.has_progress()) on_progress(FromProto(event.progress()));
    if (event.has_fault()) {
      result.faults.push_back({event.fault().is_error(),
                               event.fault().subject(),
                               {event.fault().images().begin(), event.fault().images().end()},
                               event.fault().message()});
    }
    if (event.has_summary()) {
      result.blobs = event.summary().blobs();
      result.blob_bytes = event.summary().blob_bytes();
      result.roots = event.summary().roots();
      result.containers = event.summary().containers();
    }
  }
  RETURN_IF_ERROR(stubs_->Finish("Images.Verify", begun, reader->Finish()));
  return result;
}

absl::StatusOr<std::string> Client::Login(const std::string& registry, const std::string& username,
                                          const std::string& password, const std::string& scheme) {
  img::LoginRequest request;
  request.set_registry(registry);
  request.set_username(username);
  request.set_password(password);
  request.set_scheme(SchemeOf(scheme));
  img::LoginResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.Login", *stubs_->images, &img::Images::Stub::Login, request,
                               &response, kLoginTimeout));
  return response.registry();
}

absl::StatusOr<std::string> Client::Logout(const std::string& registry) {
  img::LogoutRequest request;
  request.set_registry(registry);
  img::LogoutResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.Logout", *stubs_->images, &img::Images::Stub::Logout,
                               request, &response, kQueryTimeout));
  return response.registry();
}

absl::StatusOr<std::vector<RegistryLogin>> Client::ListLogins() {
  img::ListLoginsRequest request;
  img::ListLoginsResponse response;
  RETURN_IF_ERROR(stubs_->Call("Images.ListLogins", *stubs_->images, &img::Images::Stub::ListLogins,
                               request, &response, kQueryTimeout));
  std::vector<RegistryLogin> logins;
  for (const auto& login : response.logins()) {
    logins.push_back({login.registry(), login.username(), login.modified_ns()});
  }
  return logins;
}

absl::StatusOr<SystemStatus> Client::GetStatus() {
  api::StatusResponse response;
  RETURN_IF_ERROR(stubs_->Call("System.Status", *stubs_->system, &api::System::Stub::Status,
                               api::StatusRequest(), &response, kQueryTimeout));
  SystemStatus status;
  status.version = response.version();
  status.commit = response.commit();
  status.pid = response.pid();
  status.app_root = response.app_root();
  status.install_root = response.install_root();
  status.log_root = response.log_root();
  status.accelerator = response.accelerator();
  status.accelerator_reason = response.accelerator_reason();
  status.qemu_version = response.qemu_version();
  status.kernel_path = response.kernel_path();
  status.kernel_version = response.kernel_version();
  for (const auto& helper : response.helpers()) {
    status.helpers.push_back({helper.name(), helper.pid(), helper.version(), helper.state()});
  }
  status.containers_running = response.containers_running();
  status.containers_total = response.containers_total();
  status.warnings.assign(response.warnings().begin(), response.warnings().end());
  return status;
}

absl::StatusOr<std::string> Client::SetKernel(const KernelSource& source) {
  api::SetKernelRequest request;
  if (source.recommended) {
    request.set_recommended(true);
  } else if (!source.archive.empty()) {
    request.mutable_archive()->set_location(source.archive);
    request.mutable_archive()->set_member(source.binary);
    request.mutable_archive()->set_digest(source.digest);
  } else {
    request.set_binary_path(source.binary);
  }
  request.set_force(source.force);
  api::SetKernelResponse response;
  RETURN_IF_ERROR(stubs_->Call("System.SetKernel", *stubs_->system, &api::System::Stub::SetKernel,
                               request, &response, kStartTimeout));
  return response.path();
}

absl::Status Client::SystemLogs(bool follow, std::chrono::seconds last, const OnLog& on_log) {
  const auto begun = std::chrono::steady_clock::now();
  api::SystemLogsRequest request;
  request.set_follow(follow);
  request.set_last_seconds(last.count());
  grpc::ClientContext context;
  auto reader = stubs_->system->Logs(&context, request);
  api::SystemLogsResponse response;
  while (reader->Read(&response)) {
    if (!on_log({response.data(), false, 0})) {
      context.TryCancel();
      reader->Finish();
      return absl::OkStatus();
    }
  }
  return stubs_->Finish("System.Logs", begun, reader->Finish());
}

absl::Status Client::Shutdown() {
  api::ShutdownResponse response;
  return stubs_->Call("System.Shutdown", *stubs_->system, &api::System::Stub::Shutdown,
                      api::ShutdownRequest(), &response, kStartTimeout);
}

}  // namespace container::cli
