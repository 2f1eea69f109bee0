#include "apiserver/system/service.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "apiserver/follow_stream.h"
#include "apiserver/system/system_logs.h"
#include "base/log.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/units.h"
#include "base/version.h"

namespace container::apiserver {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

/// Beyond the longest stop timeout of the containers that run.
constexpr std::chrono::milliseconds kStopAllSlack(20000);

class SystemLogSource : public FollowSource<v1::SystemLogsResponse> {
 public:
  SystemLogSource(SystemLogs logs, bool follow) : logs_(std::move(logs)), follow_(follow) {}
  absl::StatusOr<std::optional<v1::SystemLogsResponse>> Next() override {
    ASSIGN_OR_RETURN(std::optional<std::string> data, logs_.Next(), "read the logs");
    if (!data.has_value()) return std::nullopt;
    v1::SystemLogsResponse response;
    response.set_data(*std::move(data));
    return response;
  }
  bool Ended() override { return !follow_; }
  std::vector<std::string> Files() override { return logs_.Files(); }

 private:
  SystemLogs logs_;
  const bool follow_;
};

/// Ends the process when the answer is on its way.
class ShutdownReactor : public ServerUnaryReactor {
 public:
  explicit ShutdownReactor(std::function<void()> exit) : exit_(std::move(exit)) {}
  void OnDone() override {
    exit_();
    delete this;
  }

 private:
  const std::function<void()> exit_;
};

/// Dates of log lines: milliseconds, always three digits.
std::string LogDate(std::chrono::system_clock::time_point time) {
  const auto ms = std::chrono::floor<std::chrono::milliseconds>(time);
  const auto seconds = std::chrono::floor<std::chrono::seconds>(ms);
  std::string text = base::FormatTimestamp(seconds);
  text.pop_back();  // Z
  const int rest = static_cast<int>((ms - seconds).count());
  return absl::StrCat(text, ".", absl::Dec(rest, absl::kZeroPad3), "Z");
}

}  // namespace

void SystemService::FillStatus(v1::StatusResponse& response) {
  response.set_version(std::string(base::kVersion));
  response.set_commit(std::string(base::kCommit));
  response.set_pid(::getpid());
  response.set_app_root(parts_.paths.app_root());
  response.set_install_root(parts_.paths.install_root());
  response.set_log_root(parts_.paths.log_root());
  const VirtualMachines::Info machines = parts_.machines.info();
  response.set_accelerator(machines.accelerator);
  response.set_accelerator_reason(machines.accelerator_reason);
  response.set_qemu_version(machines.qemu_version);
  response.set_kernel_path(machines.kernel_path);
  response.set_kernel_version(machines.kernel_version);
  for (const std::string& warning : parts_.warnings) response.add_warnings(warning);
  for (const std::string& warning : machines.warnings) response.add_warnings(warning);

  const ImagesHelper::Info images = parts_.images.info();
  auto* helper = response.add_helpers();
  helper->set_name(ImagesHelper::kName);
  helper->set_pid(images.pid);
  helper->set_version(images.version);
  helper->set_state(images.state);
  const auto containers = parts_.manager.List(true);
  int64_t running = 0;
  for (const auto& container : containers) {
    const pid_t pid = container->helper_pid();
    if (pid == 0) continue;
    const State state = container->state();
    running += state == State::kRunning || state == State::kStopping;
    auto* runtime = response.add_helpers();
    runtime->set_name(
        absl::StrCat(container->configuration().runtime_handler, " ", container->id()));
    runtime->set_pid(pid);
    runtime->set_state("running");
  }
  response.set_containers_running(running);
  response.set_containers_total(static_cast<int64_t>(containers.size()));
}

ServerUnaryReactor* SystemService::Status(CallbackServerContext* context, const v1::StatusRequest*,
                                          v1::StatusResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  // QEMU may have to be asked for its version.
  parts_.pool.Post([this, reactor, response] {
    FillStatus(*response);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

absl::StatusOr<std::string> SystemService::InstallKernel(const v1::SetKernelRequest& request) {
  Kernels& kernels = parts_.machines.kernels();
  switch (request.source_case()) {
    case v1::SetKernelRequest::kBinaryPath:
      return kernels.InstallBinary(request.binary_path(), request.force());
    case v1::SetKernelRequest::kArchive:
      return kernels.InstallArchive(request.archive().location(), request.archive().member(),
                                    request.archive().digest(), request.force());
    case v1::SetKernelRequest::kRecommended:
      return kernels.InstallRecommended(request.force());
    case v1::SetKernelRequest::SOURCE_NOT_SET:
      break;
  }
  return absl::InvalidArgumentError(
      "no kernel is named: a binary, an archive or the recommended one");
}

ServerUnaryReactor* SystemService::SetKernel(CallbackServerContext* context,
                                             const v1::SetKernelRequest* request,
                                             v1::SetKernelResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  parts_.pool.Post([this, reactor, request, response] {
    auto path = InstallKernel(*request);
    if (path.ok()) {
      spdlog::info("kernel={}", *path);
      response->set_path(*path);
      parts_.machines.KernelChanged();
    }
    reactor->Finish(base::ToGrpc(path.status()));
  });
  return reactor;
}

ServerUnaryReactor* SystemService::Shutdown(CallbackServerContext*, const v1::ShutdownRequest*,
                                            v1::ShutdownResponse*) {
  auto* reactor = new ShutdownReactor(parts_.exit);
  parts_.pool.Post([this, reactor] {
    spdlog::info("shutting down");
    int64_t longest_ms = 0;
    for (const auto& container : parts_.manager.List(false)) {
      longest_ms = std::max(longest_ms, container->configuration().stop_timeout_ms);
    }
    const bool stopped =
        parts_.manager.StopAll(std::chrono::milliseconds(longest_ms) + kStopAllSlack);
    if (!stopped) spdlog::error("some containers did not stop");
    parts_.images.Shutdown();
    reactor->Finish(stopped ? grpc::Status::OK
                            : grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED,
                                           "the system has ended, but some containers run on: the "
                                           "next 'container system start' finds them again"));
  });
  return reactor;
}

grpc::ServerWriteReactor<v1::SystemLogsResponse>* SystemService::Logs(
    CallbackServerContext*, const v1::SystemLogsRequest* request) {
  std::string since;
  if (request->last_seconds() > 0) {
    since = LogDate(std::chrono::system_clock::now() -
                    std::chrono::seconds(std::min<int64_t>(request->last_seconds(), 1 << 30)));
  }
  auto* stream = new FollowStream<v1::SystemLogsResponse>(
      parts_.pool, parts_.watcher,
      std::make_unique<SystemLogSource>(SystemLogs(parts_.paths.log_root(), since),
                                        request->follow()));
  stream->Begin();
  return stream;
}

}  // namespace container::apiserver
