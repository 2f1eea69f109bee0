#include "apiserver/images/images_helper.h"

#include <signal.h>

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "apiserver/plugins/plugin.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/version.h"
#include "model/container.h"
#include "proto/images.grpc.pb.h"

namespace container::apiserver {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPingTimeout(10000);
constexpr milliseconds kTakeOverTimeout(3000);
constexpr milliseconds kPatience(10000);
constexpr milliseconds kFirstPause(100);
constexpr milliseconds kLongestPause(10000);
/// A helper that ran so long did not fail for the same reason as the last time.
constexpr std::chrono::seconds kGoodRun(30);

absl::StatusOr<std::string> Ping(const std::shared_ptr<grpc::Channel>& channel,
                                 milliseconds timeout) {
  grpc::ClientContext context;
  base::SetDeadline(context, timeout);
  images::v1::PingResponse response;
  RETURN_IF_ERROR(
      base::FromGrpc(images::v1::Images::NewStub(channel)->Ping(&context, {}, &response)));
  return response.version();
}

}  // namespace

ImagesHelper::ImagesHelper(base::Paths paths, TaskPool& pool, EventLoop& loop)
    : paths_(std::move(paths)), loop_(loop), queue_(pool) {}

void ImagesHelper::Start() {
  queue_.Post([self = shared_from_this()] { self->Launch(); });
}

void ImagesHelper::Launch() {
  {
    std::lock_guard lock(mutex_);
    if (closing_ || helper_ != nullptr) return;
    state_ = "starting";
  }
  if (auto left = TakeOver(); left.ok()) return;
  auto plugin = LoadPlugin(paths_, kName);
  if (!plugin.ok()) {
    Fail(plugin.status());
    return;
  }
  std::vector<std::string> arguments = plugin->default_arguments;
  if (arguments.empty()) arguments = {"start"};
  arguments.insert(arguments.end(), {"--app-root", paths_.app_root()});
  auto helper = HelperProcess::Launch(plugin->program, std::move(arguments), paths_.ImagesSocket(),
                                      paths_.LogFile(kName));
  absl::Status used = helper.ok() ? Use(*helper, kPingTimeout) : helper.status();
  if (!used.ok()) {
    if (helper.ok()) (*helper)->TerminateOrKill(milliseconds(1000));
    Fail(used);
    return;
  }
  model::HelperRecord record;
  record.pid = (*helper)->identity().pid;
  record.start_ticks = (*helper)->identity().start_ticks;
  record.socket = (*helper)->socket();
  if (absl::Status written = base::WriteFileAtomically(RecordFile(), record.ToJson());
      !written.ok()) {
    spdlog::warn("can't write {} error=\"{}\"", RecordFile(), std::string(written.message()));
  }
}

absl::StatusOr<std::shared_ptr<HelperProcess>> ImagesHelper::TakeOver() {
  ASSIGN_OR_RETURN(std::string text, base::ReadFile(RecordFile()));
  ASSIGN_OR_RETURN(model::HelperRecord record, model::HelperRecord::FromJson(text));
  ASSIGN_OR_RETURN(std::shared_ptr<HelperProcess> helper,
                   HelperProcess::Adopt({record.pid, record.start_ticks}, paths_.ImagesSocket()));
  absl::Status used = Use(helper, kTakeOverTimeout);
  if (used.ok()) {
    spdlog::info("adopted {} pid={}", kName, record.pid);
    return helper;
  }
  spdlog::info("ending the old {} pid={} reason=\"{}\"", kName, record.pid,
               std::string(used.message()));
  helper->TerminateOrKill(milliseconds(3000));
  return used;
}

absl::Status ImagesHelper::Use(std::shared_ptr<HelperProcess> helper, milliseconds timeout) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, base::ConnectRpc(helper->socket()));
  ASSIGN_OR_RETURN(std::string version, Ping(channel, timeout));
  if (version != base::kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat("it is version ", version, ", and the apiserver is ", base::kVersion));
  }
  {
    std::lock_guard lock(mutex_);
    helper_ = helper;
    channel_ = std::move(channel);
    version_ = version;
    state_ = "running";
    since_ = std::chrono::steady_clock::now();
  }
  spdlog::info("{} runs pid={}", kName, helper->identity().pid);
  loop_.OnReadable(helper->pidfd(), [self = shared_from_this(), helper] {
    self->queue_.Post([self, helper] { self->Ended(helper.get()); });
  });
  Serve();
  return absl::OkStatus();
}

void ImagesHelper::Serve() {
  std::map<uint64_t, ChannelDone> waiters;
  std::shared_ptr<grpc::Channel> channel;
  {
    std::lock_guard lock(mutex_);
    waiters.swap(waiters_);
    channel = channel_;
  }
  for (auto& [token, done] : waiters) done(channel);
}

void ImagesHelper::Ended(const HelperProcess* helper) {
  helper->WaitForEnd(milliseconds(0));  // reaps
  {
    std::lock_guard lock(mutex_);
    if (helper_.get() != helper) return;
    if (std::chrono::steady_clock::now() - since_ > kGoodRun) pause_ = milliseconds(0);
  }
  Fail(absl::UnavailableError("it ended unexpectedly"));
}

void ImagesHelper::Fail(const absl::Status& why) {
  milliseconds pause;
  {
    std::lock_guard lock(mutex_);
    helper_ = nullptr;
    channel_ = nullptr;
    state_ = absl::StrCat("not running: ", why.message());
    if (closing_) return;
    // The first time at once: a kill is not a reason to wait.
    pause = pause_;
    pause_ = std::clamp(pause_ * 2, kFirstPause, kLongestPause);
  }
  spdlog::error("{} does not run: {}; next attempt in {} ms", kName, std::string(why.message()),
                pause.count());
  loop_.After(pause,
              [self = shared_from_this()] { self->queue_.Post([self] { self->Launch(); }); });
}

void ImagesHelper::Shutdown() {
  std::shared_ptr<HelperProcess> helper;
  {
    std::lock_guard lock(mutex_);
    closing_ = true;
    helper = helper_;
    state_ = "stopping";
  }
  if (helper != nullptr) helper->TerminateOrKill(milliseconds(5000));
  base::RemoveFile(RecordFile()).IgnoreError();
  base::RemoveFile(paths_.ImagesSocket()).IgnoreError();
}

void ImagesHelper::WithChannel(milliseconds patience, ChannelDone done) {
  std::shared_ptr<grpc::Channel> channel;
  uint64_t token = 0;
  {
    std::lock_guard lock(mutex_);
    channel = channel_;
    if (channel == nullptr) {
      token = next_waiter_++;
      waiters_[token] = std::move(done);
    }
  }
  if (channel != nullptr) {
    done(std::move(channel));
    return;
  }
  loop_.After(patience, [self = shared_from_this(), token] {
    ChannelDone late;
    std::string state;
    {
      std::lock_guard lock(self->mutex_);
      auto found = self->waiters_.find(token);
      if (found == self->waiters_.end()) return;
      late = std::move(found->second);
      self->waiters_.erase(found);
      state = self->state_;
    }
    late(absl::UnavailableError(absl::StrCat("the image service (", kName, ") is ", state,
                                             "; 'container system logs' says more")));
  });
}

absl::StatusOr<images::v1::Root> ImagesHelper::PrepareRoot(const std::string& reference,
                                                           const std::string& platform) {
  std::promise<absl::StatusOr<std::shared_ptr<grpc::Channel>>> promise;
  auto future = promise.get_future();
  WithChannel(kPatience, [&promise](auto channel) { promise.set_value(std::move(channel)); });
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::Channel> channel, future.get());

  images::v1::PrepareRootRequest request;
  request.set_reference(reference);
  request.set_platform(platform);
  grpc::ClientContext context;
  // Flattening a big image takes its time; the helper's death ends the call at once.
  base::SetDeadline(context, std::chrono::minutes(15));
  auto stub = images::v1::Images::NewStub(channel);
  auto reader = stub->PrepareRoot(&context, request);
  images::v1::PrepareRootEvent event;
  images::v1::Root root;
  while (reader->Read(&event)) {
    if (event.has_root()) root = event.root();
  }
  RETURN_IF_ERROR(base::FromGrpc(reader->Finish()));
  if (root.path().empty())
    return absl::InternalError("the image service named no root file system");
  return root;
}

ImagesHelper::Info ImagesHelper::info() const {
  std::lock_guard lock(mutex_);
  return {helper_ != nullptr ? helper_->identity().pid : 0, version_, state_};
}

}  // namespace container::apiserver
