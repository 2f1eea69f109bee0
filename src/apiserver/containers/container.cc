#include "apiserver/containers/container.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "apiserver/plugins/plugin.h"
#include "base/file.h"
#include "base/log.h"
#include "base/status.h"
#include "base/units.h"

namespace container::apiserver {
namespace {

using std::chrono::milliseconds;

// Many VMs that boot at once share the host's processors: generous, because the helper's own end is
// noticed at once anyway.
constexpr milliseconds kStartTimeout(120000);
constexpr milliseconds kAdoptTimeout(5000);
/// What the helper needs beyond the time that the container's process gets.
constexpr milliseconds kLadderTimeout(15000);
constexpr milliseconds kEndTimeout(10000);
constexpr int kExitKilled = 128 + SIGKILL;

int64_t NowNs() { return base::NanosecondsOf(std::chrono::system_clock::now()); }

std::string DateOf(int64_t ns) {
  return ns == 0 ? "" : base::FormatTimestamp(base::TimeFromNanoseconds(ns));
}

}  // namespace

Container::Container(ContainerContext& context, model::ContainerConfiguration configuration,
                     const ContainerRow& row)
    : context_(context),
      configuration_(std::move(configuration)),
      queue_(context.pool),
      row_(row) {}

State Container::state() const {
  std::lock_guard lock(mutex_);
  return row_.state;
}

pid_t Container::helper_pid() const {
  std::lock_guard lock(mutex_);
  return helper_ != nullptr ? helper_->identity().pid : 0;
}

model::ContainerStatus Container::status() const {
  std::lock_guard lock(mutex_);
  model::ContainerStatus status;
  status.state = std::string(PublicName(row_.state));
  status.started_date = DateOf(row_.started_ns);
  status.finished_date = DateOf(row_.finished_ns);
  status.exit_code = row_.exit_code;
  status.error = row_.error;
  return status;
}

bool Container::RunsLocked() const {
  return row_.state == State::kStarting || row_.state == State::kRunning ||
         row_.state == State::kStopping;
}

std::optional<Exit> Container::LastExit() const {
  std::lock_guard lock(mutex_);
  if (!row_.exit_code.has_value()) return std::nullopt;
  return Exit{*row_.exit_code, row_.finished_ns};
}

absl::Status Container::Change(Event event) {
  State from, to;
  {
    std::lock_guard lock(mutex_);
    from = row_.state;
    ASSIGN_OR_RETURN(to, Next(from, event), absl::StrCat("container ", id()));
    row_.state = to;
  }
  spdlog::debug("state id={} from={} to={}", id(), std::string(Name(from)), std::string(Name(to)));
  return absl::OkStatus();
}

void Container::Persist() {
  ContainerRow row;
  {
    std::lock_guard lock(mutex_);
    row = row_;
  }
  // Not fatal: the next apiserver sees the helper and its files, and judges by these.
  if (absl::Status put = context_.store.Put(row); !put.ok()) {
    spdlog::error("can't write the state id={} error=\"{}\"", id(), std::string(put.message()));
  }
}

// --- Starting ---------------------------------------------------------------------------------

void Container::Start(StartParameters parameters, StartDone done) {
  queue_.Post(
      [self = shared_from_this(), parameters = std::move(parameters), done = std::move(done)] {
        auto result = self->DoStart(parameters);
        done(std::move(result));
        // Only now: a client that is told of the failure may ask for the container.
        self->RemoveIfWanted();
      });
}

absl::StatusOr<runtime::v1::StartProcessResponse> Container::DoStart(
    const StartParameters& parameters) {
  {
    std::lock_guard lock(mutex_);
    RETURN_IF_ERROR(Next(row_.state, Event::kStart).status(), absl::StrCat("container ", id()));
  }
  // What the host lacks fails the call and leaves the container as it is.
  ASSIGN_OR_RETURN(model::RuntimeConfiguration runtime, context_.runtime_configuration());
  if (!configuration_.kernel.empty()) runtime.kernel_path = configuration_.kernel;
  {
    std::lock_guard lock(mutex_);
    row_.error.clear();
    row_.exit_code.reset();
    row_.started_ns = 0;
    row_.finished_ns = 0;
    abort_start_ = false;
  }
  RETURN_IF_ERROR(Change(Event::kStart));
  if (absl::Status launched = LaunchHelper(runtime); !launched.ok()) {
    return FailStart(launched, std::nullopt);
  }
  auto response = StartFirstProcess(parameters);
  if (!response.ok()) return FailStart(response.status(), std::nullopt);
  if (response->has_exec_failure()) {
    FailStart(absl::FailedPreconditionError(response->exec_failure().message()),
              response->exec_failure().exit_code())
        .IgnoreError();
    return response;
  }
  {
    std::lock_guard lock(mutex_);
    row_.started_ns = NowNs();
  }
  RETURN_IF_ERROR(Change(Event::kStarted));
  Persist();
  spdlog::info("started id={} pid={}", id(), helper_pid());
  // From now on its end is an event of the queue, even if it is there already.
  WatchHelper();
  return response;
}

absl::Status Container::LaunchHelper(const model::RuntimeConfiguration& runtime) {
  const base::Bundle files = bundle();
  for (const std::string& stale : {files.Exit(), files.Helper()}) {
    RETURN_IF_ERROR(base::RemoveFile(stale));
  }
  {
    // Nobody reads it before the helper is there, so it need not be atomic.
    ASSIGN_OR_RETURN(base::Fd file,
                     base::Open(files.Runtime(), O_WRONLY | O_CREAT | O_TRUNC, 0600));
    RETURN_IF_ERROR(base::WriteAll(file.get(), runtime.ToJson()), files.Runtime());
  }
  ASSIGN_OR_RETURN(Plugin plugin, LoadPlugin(context_.paths, configuration_.runtime_handler));
  std::vector<std::string> arguments = plugin.default_arguments;
  if (arguments.empty()) arguments = {"start"};
  arguments.insert(arguments.end(), {"--bundle", files.path});
  ASSIGN_OR_RETURN(std::shared_ptr<HelperProcess> helper,
                   HelperProcess::Launch(plugin.program, std::move(arguments),
                                         context_.paths.RuntimeSocket(id()),
                                         context_.paths.LogFile(plugin.name)),
                   absl::StrCat("launch ", plugin.name));
  {
    std::lock_guard lock(mutex_);
    helper_ = helper;
    row_.helper_pid = helper->identity().pid;
    row_.helper_start_ticks = helper->identity().start_ticks;
  }
  Persist();
  ASSIGN_OR_RETURN(std::shared_ptr<RuntimeClient> client, RuntimeClient::Connect(helper->socket()));
  std::lock_guard lock(mutex_);
  client_ = std::move(client);
  return absl::OkStatus();
}

absl::StatusOr<runtime::v1::StartProcessResponse> Container::StartFirstProcess(
    const StartParameters& parameters) {
  runtime::v1::StartProcessRequest request;
  request.set_process_id(id());
  *request.mutable_stdio() = parameters.stdio;
  *request.mutable_size() = parameters.size;
  std::promise<absl::StatusOr<runtime::v1::StartProcessResponse>> promise;
  auto future = promise.get_future();
  {
    std::lock_guard lock(mutex_);
    if (abort_start_) return absl::CancelledError("the start was given up");
    cancel_start_ = client_->StartProcess(request, kStartTimeout, [&promise](auto response) {
      promise.set_value(std::move(response));
    });
  }
  auto response = future.get();
  std::lock_guard lock(mutex_);
  cancel_start_ = nullptr;
  if (response.ok() || abort_start_) {
    if (abort_start_ && !response.ok()) return absl::CancelledError("the start was given up");
    return response;
  }
  if (absl::IsUnavailable(response.status())) {
    // A process that lives for a moment only: the helper may be gone before its answer is here.
    auto text = base::ReadFile(bundle().Exit());
    auto record = text.ok() ? model::ExitRecord::FromJson(*text)
                            : absl::StatusOr<model::ExitRecord>(text.status());
    if (record.ok() && record->error.empty()) return runtime::v1::StartProcessResponse();
    if (record.ok()) return absl::UnavailableError(record->error);
  }
  return response.status();
}

absl::Status Container::FailStart(absl::Status why, std::optional<int> exit_code) {
  std::shared_ptr<HelperProcess> helper;
  std::shared_ptr<RuntimeClient> client;
  {
    std::lock_guard lock(mutex_);
    helper = helper_;
    client = client_;
  }
  if (helper != nullptr) {
    if (client != nullptr && !absl::IsUnavailable(why)) {
      runtime::v1::StopRequest request;
      request.set_signal(SIGKILL);
      client->Stop(request, kEndTimeout, [](auto) {});
      helper->WaitForEnd(kEndTimeout);
    }
    helper->TerminateOrKill(milliseconds(1000));
    base::RemoveFile(helper->socket()).IgnoreError();
  }
  {
    std::lock_guard lock(mutex_);
    helper_ = nullptr;
    client_ = nullptr;
    row_.helper_pid = 0;
    row_.helper_start_ticks = 0;
    row_.finished_ns = NowNs();
    row_.exit_code = exit_code;
    row_.error = std::string(why.message());
    removing_ = configuration_.auto_remove;
  }
  spdlog::warn("not started id={} reason=\"{}\"", id(), std::string(why.message()));
  Change(Event::kStartFailed).IgnoreError();
  Persist();
  if (exit_code.has_value()) {
    FinishWaiters(*LastExit());
  } else {
    FinishWaiters(why);
  }
  return why;
}

// --- The end ----------------------------------------------------------------------------------

void Container::WatchHelper() {
  std::shared_ptr<HelperProcess> helper;
  std::shared_ptr<RuntimeClient> client;
  {
    std::lock_guard lock(mutex_);
    helper = helper_;
    client = client_;
  }
  // The helper lingers until somebody has asked how its process ended. The answer is in exit.json,
  // too, and counts once the helper, and its VM with it, is gone.
  client->WaitProcess(id(), [](auto) {});
  context_.loop.OnReadable(helper->pidfd(), [self = shared_from_this(), helper] {
    self->queue_.Post([self, helper] { self->HelperEnded(helper.get()); });
  });
}

void Container::HelperEnded(const HelperProcess* helper) {
  {
    std::lock_guard lock(mutex_);
    if (helper_.get() != helper) return;  // It was dealt with already.
  }
  helper->WaitForEnd(milliseconds(0));  // reaps
  base::RemoveFile(helper->socket()).IgnoreError();
  DisarmKillTimer();
  TakeExit();
  if (absl::Status changed = Change(Event::kEnded); !changed.ok()) {
    spdlog::error("unexpected end id={} error=\"{}\"", id(), std::string(changed.message()));
  }
  Persist();
  RemoveIfWanted();
  auto exit = LastExit();
  FinishWaiters(exit.value_or(Exit{kExitKilled, NowNs()}));
}

void Container::TakeExit() {
  auto text = base::ReadFile(bundle().Exit());
  auto record = text.ok() ? model::ExitRecord::FromJson(*text)
                          : absl::StatusOr<model::ExitRecord>(text.status());
  std::lock_guard lock(mutex_);
  if (record.ok()) {
    row_.exit_code = record->exit_code;
    row_.finished_ns = record->finished_ns;
    row_.error = record->error;
  } else {
    row_.exit_code = kExitKilled;
    row_.finished_ns = NowNs();
    row_.error =
        "The runtime helper died, and the container's VM with it; see 'container system logs'.";
  }
  helper_ = nullptr;
  client_ = nullptr;
  row_.helper_pid = 0;
  row_.helper_start_ticks = 0;
  removing_ = configuration_.auto_remove;
  if (row_.error.empty()) {
    spdlog::info("ended id={} exit_code={}", id(), *row_.exit_code);
  } else {
    spdlog::warn("ended id={} exit_code={} error=\"{}\"", id(), *row_.exit_code, row_.error);
  }
}

void Container::RemoveIfWanted() {
  {
    std::lock_guard lock(mutex_);
    if (!removing_ || row_.state != State::kStopped) return;
    removing_ = false;
  }
  if (absl::Status deleted = DoDelete(false); !deleted.ok()) {
    spdlog::error("can't remove id={} error=\"{}\"", id(), std::string(deleted.message()));
  }
}

void Container::FinishWaiters(const absl::StatusOr<Exit>& result) {
  std::map<uint64_t, WaitDone> waiters;
  {
    std::lock_guard lock(mutex_);
    waiters.swap(waiters_);
  }
  for (auto& [token, done] : waiters) done(result);
}

uint64_t Container::Wait(WaitDone done) {
  absl::StatusOr<Exit> result = absl::FailedPreconditionError(
      absl::StrCat("container ", id(), " was never started: nothing to wait for"));
  {
    std::lock_guard lock(mutex_);
    if (RunsLocked()) {
      const uint64_t token = next_waiter_++;
      waiters_[token] = std::move(done);
      return token;
    }
    if (row_.exit_code.has_value()) {
      result = Exit{*row_.exit_code, row_.finished_ns};
    } else if (!row_.error.empty()) {
      result = absl::FailedPreconditionError(
          absl::StrCat("container ", id(), " could not be started: ", row_.error));
    }
  }
  done(std::move(result));
  return 0;
}

void Container::CancelWait(uint64_t token) {
  WaitDone dropped;
  std::lock_guard lock(mutex_);
  if (auto found = waiters_.find(token); found != waiters_.end()) {
    dropped = std::move(found->second);
    waiters_.erase(found);
  }
}

// --- Stopping ---------------------------------------------------------------------------------

void Container::Stop(int signal, int64_t timeout_ms, Done done) {
  {
    std::lock_guard lock(mutex_);
    if (row_.state == State::kStarting) {
      // The queue is busy with the start; it is the start that ends it.
      abort_start_ = true;
      if (cancel_start_) cancel_start_();
    }
  }
  queue_.Post([self = shared_from_this(), signal, timeout_ms, done = std::move(done)]() mutable {
    self->DoStop(signal, timeout_ms, std::move(done));
  });
}

void Container::DoStop(int signal, int64_t timeout_ms, Done done) {
  std::shared_ptr<RuntimeClient> client;
  {
    std::lock_guard lock(mutex_);
    if (!RunsLocked()) {
      client = nullptr;
    } else {
      client = client_;
    }
  }
  if (client == nullptr) {
    done(absl::OkStatus());
    return;
  }
  if (signal == 0) signal = base::ParseSignal(configuration_.stop_signal).value_or(SIGTERM);
  if (timeout_ms < 0) timeout_ms = configuration_.stop_timeout_ms;
  if (absl::Status changed = Change(Event::kStop); !changed.ok()) {
    done(changed);
    return;
  }
  Persist();
  Wait([done = std::move(done)](const absl::StatusOr<Exit>&) { done(absl::OkStatus()); });
  const milliseconds limit = milliseconds(timeout_ms) + kLadderTimeout;
  ArmKillTimer(limit);
  runtime::v1::StopRequest request;
  request.set_signal(signal);
  request.set_timeout_ms(timeout_ms);
  // Its answer says nothing that the helper's end does not say; without one, the timer acts.
  client->Stop(request, limit, [](auto) {});
}

void Container::ArmKillTimer(milliseconds after) {
  std::shared_ptr<HelperProcess> helper;
  EventLoop::Token old;
  {
    std::lock_guard lock(mutex_);
    helper = helper_;
    old = kill_timer_;
  }
  // The later of two stops decides: a second one with less patience is obeyed.
  context_.loop.Cancel(old);
  const EventLoop::Token armed = context_.loop.After(after, [self = shared_from_this(), helper] {
    spdlog::warn("the runtime helper does not end: killing it id={} pid={}", self->id(),
                 helper->identity().pid);
    helper->Signal(SIGKILL);
  });
  std::lock_guard lock(mutex_);
  kill_timer_ = armed;
}

void Container::DisarmKillTimer() {
  EventLoop::Token timer;
  {
    std::lock_guard lock(mutex_);
    timer = std::exchange(kill_timer_, 0);
  }
  context_.loop.Cancel(timer);
}

// --- Deleting ---------------------------------------------------------------------------------

void Container::Delete(bool force, Done done) {
  const auto remove = [self = shared_from_this(), force, done = std::move(done)] {
    self->queue_.Post([self, force, done] { done(self->DoDelete(force)); });
  };
  if (!force) {
    remove();
    return;
  }
  Stop(SIGKILL, 0, [remove](absl::Status) { remove(); });
}

absl::Status Container::DoDelete(bool force) {
  {
    std::lock_guard lock(mutex_);
    // Deleted twice, or by auto-remove in the meantime.
    if (row_.state == State::kGone) {
      if (force) return absl::OkStatus();
      return absl::NotFoundError(absl::StrCat("there is no container ", id()));
    }
    if (row_.state == State::kRunning || row_.state == State::kStopping) {
      return absl::FailedPreconditionError(
          absl::StrCat("container ", id(), " is ", Name(row_.state),
                       ": stop it first, or delete it with --force"));
    }
  }
  RETURN_IF_ERROR(Change(Event::kDelete));
  auto removed = context_.bundles.Remove(id());
  if (!removed.ok()) {
    Change(Event::kDeleteFailed).IgnoreError();
    return base::Annotate(removed.status(), absl::StrCat("delete container ", id()));
  }
  // The rest can't bring the container back: a row without a bundle is dropped at the next start,
  // and nobody need wait for the disk.
  if (absl::Status row = context_.store.Remove(id()); !row.ok()) {
    spdlog::error("can't remove the row id={} error=\"{}\"", id(), std::string(row.message()));
  }
  context_.pool.Post([path = *std::move(removed)] { BundleMaker::Dispose(path); });
  RETURN_IF_ERROR(Change(Event::kDeleted));
  spdlog::info("deleted id={}", id());
  context_.on_gone(id(), LastExit());
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<RuntimeClient>> Container::RunningClient() const {
  std::lock_guard lock(mutex_);
  if ((row_.state == State::kRunning || row_.state == State::kStopping) && client_ != nullptr) {
    return client_;
  }
  const bool ended_badly = row_.state == State::kStopped && !row_.error.empty();
  return absl::FailedPreconditionError(
      absl::StrCat("container ", id(), " is not running", ended_badly ? ": " : "",
                   ended_badly ? row_.error : "", "; start it with: container start ", id()));
}

// --- After a restart of the apiserver ---------------------------------------------------------

void Container::Recover(std::function<void()> done) {
  queue_.Post([self = shared_from_this(), done = std::move(done)] {
    self->DoRecover();
    done();
  });
}

void Container::DoRecover() {
  base::ProcessIdentity identity;
  {
    std::lock_guard lock(mutex_);
    if (!RunsLocked()) return;
    identity = {row_.helper_pid, row_.helper_start_ticks};
  }
  if (identity.pid <= 0) {
    // The earlier apiserver died before it could write the row; the helper names itself.
    auto text = base::ReadFile(bundle().Helper());
    auto record = text.ok() ? model::HelperRecord::FromJson(*text)
                            : absl::StatusOr<model::HelperRecord>(text.status());
    if (record.ok()) identity = {record->pid, record->start_ticks};
  }
  const absl::Status adopted = Readopt(identity);
  if (adopted.ok()) {
    spdlog::info("adopted id={} pid={}", id(), identity.pid);
    return;
  }
  spdlog::info("not adopted id={} reason=\"{}\"", id(), std::string(adopted.message()));
  bool started;
  {
    std::lock_guard lock(mutex_);
    started = row_.state != State::kStarting;
  }
  const bool has_exit = ::access(bundle().Exit().c_str(), F_OK) == 0;
  // A helper that was ended here, because nobody would have started its process, has left one, too.
  const bool ended_here = absl::IsFailedPrecondition(adopted);
  if (started || (has_exit && !ended_here)) {
    if (!started) Change(Event::kStarted).IgnoreError();
    TakeExit();
    Change(Event::kEnded).IgnoreError();
    Persist();
  } else {
    FailStart(absl::UnavailableError("The apiserver ended while the container was starting."),
              std::nullopt)
        .IgnoreError();
  }
  RemoveIfWanted();
}

absl::Status Container::Readopt(const base::ProcessIdentity& identity) {
  if (identity.pid <= 0) return absl::NotFoundError("no runtime helper is known");
  ASSIGN_OR_RETURN(std::shared_ptr<HelperProcess> helper,
                   HelperProcess::Adopt(identity, context_.paths.RuntimeSocket(id())));
  absl::StatusOr<runtime::v1::GetStateResponse> state = absl::UnavailableError("no answer");
  auto client = RuntimeClient::Connect(helper->socket());
  if (client.ok()) state = (*client)->GetState(kAdoptTimeout);
  using runtime::v1::GetStateResponse;
  const bool useful = state.ok() && state->phase() != GetStateResponse::BOOTING &&
                      state->phase() != GetStateResponse::READY;
  if (!useful) {
    // Nobody will start its process any more, or it does not answer.
    helper->TerminateOrKill(milliseconds(2000));
    if (!state.ok()) return state.status();
    return absl::FailedPreconditionError("its first process was not started");
  }
  bool starting;
  {
    std::lock_guard lock(mutex_);
    helper_ = helper;
    client_ = *client;
    row_.helper_pid = identity.pid;
    row_.helper_start_ticks = identity.start_ticks;
    starting = row_.state == State::kStarting;
    if (row_.started_ns == 0) {
      row_.started_ns = NowNs();
      auto text = base::ReadFile(bundle().Helper());
      auto record = text.ok() ? model::HelperRecord::FromJson(*text)
                              : absl::StatusOr<model::HelperRecord>(text.status());
      if (record.ok()) {
        auto date = base::ParseTimestamp(record->started_date);
        if (date.ok()) row_.started_ns = base::NanosecondsOf(*date);
      }
    }
  }
  if (starting) RETURN_IF_ERROR(Change(Event::kStarted));
  if (state->phase() != GetStateResponse::RUNNING && this->state() == State::kRunning) {
    RETURN_IF_ERROR(Change(Event::kStop));
  }
  if (this->state() == State::kStopping) {
    ArmKillTimer(milliseconds(configuration_.stop_timeout_ms) + kLadderTimeout);
  }
  Persist();
  WatchHelper();
  return absl::OkStatus();
}

}  // namespace container::apiserver
