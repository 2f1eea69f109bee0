#include "apiserver/containers/service.h"

#include <signal.h>

#include <atomic>
#include <functional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "apiserver/containers/cri_log.h"
#include "apiserver/follow_stream.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/units.h"

namespace container::apiserver {
namespace {

using grpc::CallbackServerContext;
using grpc::ServerUnaryReactor;

constexpr std::chrono::milliseconds kExecTimeout(60000);
constexpr int kExitKilled = 128 + SIGKILL;

ServerUnaryReactor* Reply(CallbackServerContext* context, const absl::Status& status) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(base::ToGrpc(status));
  return reactor;
}

absl::Status ValidateSignal(int signal) {
  if (signal >= 1 && signal <= 64) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(signal, " is not a signal: 1 to 64 are"));
}

/// The first process is named by the container's id to its helper, by nothing or the id to us.
std::string ProcessOf(const Container& container, const std::string& process_id) {
  return process_id.empty() ? container.id() : process_id;
}

/// A wait that can be given up by its caller.
class WaitReactor : public ServerUnaryReactor {
 public:
  static WaitReactor* Make(v1::WaitResponse* response) { return new WaitReactor(response); }

  /// Any number of times, on any thread; the first counts.
  void Resolve(const absl::StatusOr<Exit>& exit) {
    {
      std::lock_guard lock(mutex_);
      if (finished_) return;
      finished_ = true;
      if (exit.ok()) {
        response_->mutable_exit()->set_exit_code(exit->exit_code);
        response_->mutable_exit()->set_finished_ns(exit->finished_ns);
      }
    }
    Finish(base::ToGrpc(exit.status()));
  }
  /// `cancel` ends the wait; after it the callback may come, but need not.
  void OnceCancelled(std::function<void()> cancel) {
    std::unique_lock lock(mutex_);
    if (!cancelled_) {
      cancel_ = std::move(cancel);
      return;
    }
    lock.unlock();
    cancel();
  }
  void OnCancel() override {
    std::function<void()> cancel;
    {
      std::lock_guard lock(mutex_);
      cancelled_ = true;
      cancel.swap(cancel_);
    }
    if (cancel) cancel();
    Resolve(absl::CancelledError("the caller has gone"));
  }
  void OnDone() override { Release(); }

  /// The reactor lives until the call is done and nobody holds it.
  void Hold() { holds_.fetch_add(1); }
  void Release() {
    if (holds_.fetch_sub(1) == 1) delete this;
  }

 private:
  explicit WaitReactor(v1::WaitResponse* response) : response_(response) {}
  v1::WaitResponse* const response_;
  std::mutex mutex_;
  bool finished_ = false;
  bool cancelled_ = false;
  std::function<void()> cancel_;
  std::atomic<int> holds_{1};
};

/// Held by the callbacks that resolve it.
std::shared_ptr<WaitReactor> Share(WaitReactor* reactor) {
  reactor->Hold();
  return std::shared_ptr<WaitReactor>(reactor, [](WaitReactor* held) { held->Release(); });
}

class ContainerLogSource : public FollowSource<v1::LogsResponse> {
 public:
  ContainerLogSource(std::shared_ptr<Container> container, std::string path,
                     const v1::LogsRequest& request)
      : container_(std::move(container)),
        path_(std::move(path)),
        format_(request.boot() ? LogReader::Format::kRaw : LogReader::Format::kCri),
        follow_(request.follow()),
        tail_(request.tail()) {}

  absl::StatusOr<std::optional<v1::LogsResponse>> Next() override {
    if (!reader_.has_value()) {
      auto reader = LogReader::Open(path_, format_, tail_);
      // Nothing was written yet: an empty log.
      if (absl::IsNotFound(reader.status())) return std::nullopt;
      RETURN_IF_ERROR(reader.status(), "read the log");
      reader_ = *std::move(reader);
    }
    ASSIGN_OR_RETURN(std::optional<LogChunk> chunk, reader_->Next(), "read the log");
    if (!chunk.has_value()) return std::nullopt;
    v1::LogsResponse response;
    response.set_data(std::move(chunk->data));
    response.set_stderr(chunk->standard_error);
    response.set_time_ns(chunk->time_ns);
    return response;
  }
  bool Ended() override {
    if (!follow_) return true;
    const State state = container_->state();
    return state != State::kStarting && state != State::kRunning && state != State::kStopping;
  }
  std::vector<std::string> Files() override { return {path_}; }

 private:
  const std::shared_ptr<Container> container_;
  const std::string path_;
  const LogReader::Format format_;
  const bool follow_;
  const int64_t tail_;
  std::optional<LogReader> reader_;
};

}  // namespace

ServerUnaryReactor* ContainersService::Create(CallbackServerContext* context,
                                              const v1::CreateRequest* request,
                                              v1::CreateResponse* response) {
  ServerUnaryReactor* reactor = context->DefaultReactor();
  manager_.Create(request->options_json(), [reactor, response](absl::StatusOr<std::string> id) {
    if (id.ok()) response->set_id(*id);
    reactor->Finish(base::ToGrpc(id.status()));
  });
  return reactor;
}

ServerUnaryReactor* ContainersService::Start(CallbackServerContext* context,
                                             const v1::StartRequest* request,
                                             v1::StartResponse* response) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) return Reply(context, container.status());
  ServerUnaryReactor* reactor = context->DefaultReactor();
  (*container)->Start({request->stdio(), request->size()}, [reactor, response](auto started) {
    if (started.ok() && started->has_exec_failure()) {
      *response->mutable_exec_failure() = started->exec_failure();
    }
    reactor->Finish(base::ToGrpc(started.status()));
  });
  return reactor;
}

ServerUnaryReactor* ContainersService::Exec(CallbackServerContext* context,
                                            const v1::ExecRequest* request,
                                            v1::ExecResponse* response) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) return Reply(context, container.status());
  const std::string& process_id = request->process_id();
  if (process_id.empty() || process_id.size() > 128 || process_id == (*container)->id()) {
    return Reply(context, absl::InvalidArgumentError(
                              "a further process needs an id of 1 to 128 bytes of its own"));
  }
  auto client = (*container)->RunningClient();
  if (!client.ok()) return Reply(context, client.status());
  auto options = model::ProcessOptions::FromJson(request->options_json());
  if (!options.ok()) return Reply(context, options.status());
  auto process = MakeExecConfiguration(*options, (*container)->configuration());
  if (!process.ok()) return Reply(context, process.status());
  runtime::v1::StartProcessRequest start;
  start.set_process_id(process_id);
  start.set_configuration_json(process->ToJson());
  *start.mutable_stdio() = request->stdio();
  *start.mutable_size() = request->size();
  ServerUnaryReactor* reactor = context->DefaultReactor();
  (*client)->StartProcess(start, kExecTimeout, [reactor, response](auto started) {
    if (started.ok() && started->has_exec_failure()) {
      *response->mutable_exec_failure() = started->exec_failure();
    }
    reactor->Finish(base::ToGrpc(started.status()));
  });
  return reactor;
}

ServerUnaryReactor* ContainersService::Wait(CallbackServerContext* context,
                                            const v1::WaitRequest* request,
                                            v1::WaitResponse* response) {
  auto found = manager_.Find(request->id());
  const bool first = request->process_id().empty() || request->process_id() == request->id() ||
                     (found.ok() && request->process_id() == (*found)->id());
  if (!found.ok()) {
    if (auto exit = manager_.ExitOfGone(request->id()); exit.has_value() && first) {
      response->mutable_exit()->set_exit_code(exit->exit_code);
      response->mutable_exit()->set_finished_ns(exit->finished_ns);
      return Reply(context, absl::OkStatus());
    }
    return Reply(context, found.status());
  }
  std::shared_ptr<Container> container = *std::move(found);
  if (first) {
    WaitReactor* reactor = WaitReactor::Make(response);
    auto shared = Share(reactor);
    const uint64_t token =
        container->Wait([shared](const absl::StatusOr<Exit>& exit) { shared->Resolve(exit); });
    reactor->OnceCancelled([container, token] { container->CancelWait(token); });
    return reactor;
  }
  auto client = container->RunningClient();
  if (!client.ok()) return Reply(context, client.status());
  WaitReactor* reactor = WaitReactor::Make(response);
  auto shared = Share(reactor);
  RuntimeClient::Cancel cancel = (*client)->WaitProcess(request->process_id(), [shared, container](
                                                                                   auto waited) {
    if (waited.ok()) {
      shared->Resolve(Exit{waited->exit().exit_code(), waited->exit().finished_ns()});
      return;
    }
    if (!absl::IsUnavailable(waited.status())) {
      shared->Resolve(waited.status());
      return;
    }
    // The helper is gone, and with the VM every process in it. Ask the container why: an ordered
    // end kills its further processes, a failure is one of theirs, too.
    container->Wait([shared, container, status = waited.status()](const auto&) {
      const std::string error = container->status().error;
      if (error.empty()) {
        shared->Resolve(Exit{kExitKilled, base::NanosecondsOf(std::chrono::system_clock::now())});
      } else {
        shared->Resolve(absl::UnavailableError(error));
      }
    });
  });
  reactor->OnceCancelled(std::move(cancel));
  return reactor;
}

ServerUnaryReactor* ContainersService::Signal(CallbackServerContext* context,
                                              const v1::SignalRequest* request,
                                              v1::SignalResponse*) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) return Reply(context, container.status());
  if (absl::Status valid = ValidateSignal(request->signal()); !valid.ok()) {
    return Reply(context, valid);
  }
  auto client = (*container)->RunningClient();
  if (!client.ok()) return Reply(context, client.status());
  runtime::v1::SignalProcessRequest signal;
  signal.set_process_id(ProcessOf(**container, request->process_id()));
  signal.set_signal(request->signal());
  ServerUnaryReactor* reactor = context->DefaultReactor();
  (*client)->SignalProcess(signal,
                           [reactor](auto sent) { reactor->Finish(base::ToGrpc(sent.status())); });
  return reactor;
}

ServerUnaryReactor* ContainersService::Resize(CallbackServerContext* context,
                                              const v1::ResizeRequest* request,
                                              v1::ResizeResponse*) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) return Reply(context, container.status());
  auto client = (*container)->RunningClient();
  if (!client.ok()) return Reply(context, client.status());
  runtime::v1::ResizeTerminalRequest resize;
  resize.set_process_id(ProcessOf(**container, request->process_id()));
  *resize.mutable_size() = request->size();
  ServerUnaryReactor* reactor = context->DefaultReactor();
  (*client)->ResizeTerminal(resize,
                            [reactor](auto sent) { reactor->Finish(base::ToGrpc(sent.status())); });
  return reactor;
}

ServerUnaryReactor* ContainersService::Stop(CallbackServerContext* context,
                                            const v1::StopRequest* request, v1::StopResponse*) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) return Reply(context, container.status());
  if (request->signal() != 0) {
    if (absl::Status valid = ValidateSignal(request->signal()); !valid.ok()) {
      return Reply(context, valid);
    }
  }
  ServerUnaryReactor* reactor = context->DefaultReactor();
  (*container)->Stop(request->signal(), request->timeout_ms(), [reactor](absl::Status stopped) {
    reactor->Finish(base::ToGrpc(stopped));
  });
  return reactor;
}

ServerUnaryReactor* ContainersService::Delete(CallbackServerContext* context,
                                              const v1::DeleteRequest* request,
                                              v1::DeleteResponse*) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) return Reply(context, container.status());
  ServerUnaryReactor* reactor = context->DefaultReactor();
  (*container)->Delete(request->force(), [reactor](absl::Status deleted) {
    reactor->Finish(base::ToGrpc(deleted));
  });
  return reactor;
}

ServerUnaryReactor* ContainersService::List(CallbackServerContext* context,
                                            const v1::ListRequest* request,
                                            v1::ListResponse* response) {
  for (const auto& container : manager_.List(request->all())) {
    response->add_container_json(
        model::ContainerObjectJson(container->configuration(), container->status()));
  }
  return Reply(context, absl::OkStatus());
}

ServerUnaryReactor* ContainersService::Get(CallbackServerContext* context,
                                           const v1::GetRequest* request,
                                           v1::GetResponse* response) {
  auto container = manager_.Find(request->id());
  if (container.ok()) {
    response->set_container_json(
        model::ContainerObjectJson((*container)->configuration(), (*container)->status()));
  }
  return Reply(context, container.status());
}

grpc::ServerWriteReactor<v1::LogsResponse>* ContainersService::Logs(
    CallbackServerContext*, const v1::LogsRequest* request) {
  auto container = manager_.Find(request->id());
  if (!container.ok()) {
    class Refusal : public grpc::ServerWriteReactor<v1::LogsResponse> {
     public:
      explicit Refusal(const absl::Status& status) { Finish(base::ToGrpc(status)); }
      void OnDone() override { delete this; }
    };
    return new Refusal(container.status());
  }
  const base::Bundle bundle = manager_.BundleOf((*container)->id());
  auto* stream = new FollowStream<v1::LogsResponse>(
      pool_, watcher_,
      std::make_unique<ContainerLogSource>(
          *container, request->boot() ? bundle.ConsoleLog() : bundle.Log(), *request));
  if (request->follow()) {
    // The end of the container ends the stream; of one that does not run, at once.
    const uint64_t token =
        (*container)->Wait([wake = stream->Waker()](const absl::StatusOr<Exit>&) { wake(); });
    stream->OnceDone([container = *container, token] { container->CancelWait(token); });
  }
  stream->Begin();
  return stream;
}

}  // namespace container::apiserver
