#include "plugins/runtime_linux/container.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/file.h"
#include "base/log.h"
#include "base/process_identity.h"
#include "base/status.h"
#include "base/units.h"
#include "model/run_parameters.h"
#include "plugins/runtime_linux/guest_options.h"

namespace container::runtime_linux {
namespace {

using std::chrono::milliseconds;

// Generous: many VMs may boot at once under emulation.
constexpr milliseconds kBootTimeout(120'000);
constexpr milliseconds kGreetTimeout(60'000);
constexpr milliseconds kSignalTimeout(2'000);
constexpr milliseconds kResizeTimeout(2'000);
// How far the end of QEMU may be behind the end of the calls to its guest.
constexpr milliseconds kDeathNews(500);
// The rungs of the stop ladder.
constexpr milliseconds kKillCallTimeout(1'000);
constexpr milliseconds kKillWait(2'000);
constexpr milliseconds kFurtherProcessesWait(300);
constexpr milliseconds kPowerOffCallTimeout(1'000);
constexpr milliseconds kPowerOffWait(5'000);
constexpr milliseconds kQuitTimeout(500);
constexpr milliseconds kQuitWait(1'000);
constexpr milliseconds kKernelWait(10'000);
// How long output that has arrived may still take to a client that does not read.
constexpr milliseconds kSlowClientWait(10'000);
// How long the helper stays for a call that asks how it ended.
constexpr milliseconds kLinger(2'000);

constexpr int kExitVmDied = 137;      // as if the process had got SIGKILL, which it has
constexpr int kExitNotStarted = 125;  // ours: there was no process
constexpr size_t kMaxFurtherProcesses = 1024;
constexpr size_t kMaxHostnameBytes = 64;

const char kRootSerial[] = "root";
const char kWritableSerial[] = "writable";

}  // namespace

absl::StatusOr<std::unique_ptr<Container>> Container::Open(Options options) {
  const base::Bundle& bundle = options.bundle;
  absl::StatusOr<base::Fd> lock = base::LockFile(bundle.path + "/helper.lock", /*wait=*/false);
  if (absl::IsUnavailable(lock.status())) {
    return absl::UnavailableError(absl::StrCat("another helper runs the bundle ", bundle.path));
  }
  RETURN_IF_ERROR(lock.status(), "lock the bundle");
  ASSIGN_OR_RETURN(std::string text, base::ReadFile(bundle.Configuration()));
  ASSIGN_OR_RETURN(auto configuration, model::ContainerConfiguration::FromJson(text),
                   bundle.Configuration());
  ASSIGN_OR_RETURN(text, base::ReadFile(bundle.Runtime()));
  ASSIGN_OR_RETURN(auto runtime, model::RuntimeConfiguration::FromJson(text), bundle.Runtime());
  ASSIGN_OR_RETURN(ProcessLog log, ProcessLog::Open(bundle.Log()));
  return std::unique_ptr<Container>(new Container(std::move(options), *std::move(lock),
                                                  std::move(configuration), std::move(runtime),
                                                  std::move(log)));
}

Container::~Container() {
  // QEMU's end wakes everyone who waits for the guest.
  if (vm_ != nullptr) vm_->Kill();
  if (boot_thread_.joinable()) boot_thread_.join();
  first_.reset();
  further_.clear();
}

absl::Status Container::Boot() {
  absl::Status launched = LaunchVm();
  spdlog::debug("container={} launched QEMU", id());
  // The guest needs hundreds of milliseconds: the bundle's files are written meanwhile.
  RETURN_IF_ERROR(base::RemoveFile(options_.bundle.Exit()), "open a new run");
  RETURN_IF_ERROR(WriteHelperRecord(""));
  if (!launched.ok()) {
    spdlog::error("container={} can't launch the VM error=\"{}\"", id(),
                  std::string(launched.message()));
    std::lock_guard lock(mutex_);
    failed_ = true;
    error_ = std::string(launched.message());
    changed_.notify_all();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(agent_, Agent::Connect(vm_->TakeAgent()));
  boot_thread_ = std::thread([this] { TalkToGuest(); });
  return absl::OkStatus();
}

absl::Status Container::LaunchVm() {
  VmSpec spec;
  if (!runtime_.qemu_program.empty()) spec.program = runtime_.qemu_program;
  ASSIGN_OR_RETURN(spec.accelerator, ParseAccelerator(runtime_.accelerator));
  spec.name = id();
  spec.cpus = std::max(1, configuration_.resources.cpus);
  spec.memory_bytes = configuration_.resources.memory_bytes;
  spec.kernel_path = runtime_.kernel_path;
  spec.initramfs_path = runtime_.initramfs_path;
  std::optional<int64_t> tsc_khz;
  if (spec.accelerator == Accelerator::kTcg) tsc_khz = options_.tsc.FrequencyKhz();
  spec.command_line = KernelCommandLine(spec.accelerator, tsc_khz, options_.debug);
  for (const std::string& path : {spec.kernel_path, spec.initramfs_path}) {
    if (::access(path.c_str(), R_OK) != 0) return base::ErrnoStatus(absl::StrCat("read ", path));
  }
  ASSIGN_OR_RETURN(base::Fd root, base::Open(options_.bundle.RootFilesystem(), O_RDONLY));
  ASSIGN_OR_RETURN(base::Fd writable, base::Open(options_.bundle.Writable(), O_RDWR));
  spec.disks = {{kRootSerial, root.get(), true}, {kWritableSerial, writable.get(), false}};
  ASSIGN_OR_RETURN(vm_, Vm::Launch(std::move(spec), options_.bundle.ConsoleLog(), [this] {
                     std::lock_guard lock(mutex_);
                     vm_ended_ = true;
                     changed_.notify_all();
                   }));
  return absl::OkStatus();
}

absl::Status Container::WriteHelperRecord(const std::string& started_date) {
  ASSIGN_OR_RETURN(base::ProcessIdentity self, base::IdentifyProcess(::getpid()));
  model::HelperRecord record;
  record.pid = self.pid;
  record.start_ticks = self.start_ticks;
  record.socket = options_.socket;
  record.started_date = started_date;
  return base::WriteFileAtomically(options_.bundle.Helper(), record.ToJson());
}

void Container::TalkToGuest() {
  absl::Status status = GreetGuest();
  std::lock_guard lock(mutex_);
  if (status.ok()) {
    if (phase_ == v1::GetStateResponse::BOOTING) phase_ = v1::GetStateResponse::READY;
  } else if (!failed_) {
    failed_ = true;
    error_ = std::string(status.message());
  }
  changed_.notify_all();
}

absl::Status Container::GreetGuest() {
  RETURN_IF_ERROR(vm_->WaitForAgent(kBootTimeout), "boot the VM");
  spdlog::debug("container={} the guest has opened the agent's port", id());
  guest::CreateContainerRequest request;
  request.set_container_id(id());
  request.set_hostname(configuration_.hostname.empty() ? id().substr(0, kMaxHostnameBytes)
                                                       : configuration_.hostname);
  request.mutable_root()->mutable_lower()->set_serial(kRootSerial);
  request.mutable_root()->mutable_lower()->set_filesystem("erofs");
  request.mutable_root()->mutable_upper()->set_serial(kWritableSerial);
  request.mutable_root()->mutable_upper()->set_filesystem("ext4");
  DescribeOptions(configuration_, request);
  auto sent = [this] {
    std::lock_guard lock(mutex_);
    guest_up_ = true;
    changed_.notify_all();
  };
  ASSIGN_OR_RETURN(guest::HelloResponse hello, agent_->Begin(&request, sent, kGreetTimeout));
  spdlog::info("container={} the guest is up kernel={} vminitd={} boot_id={}", id(),
               hello.kernel_release(), hello.version(), hello.boot_id());
  std::lock_guard lock(mutex_);
  kernel_release_ = hello.kernel_release();
  return absl::OkStatus();
}

absl::Status Container::WaitForGuest() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return guest_up_ || stop_requested_ || Ending(); });
  if (failed_ || vm_ended_) {
    lock.unlock();
    return StartFailure(absl::UnavailableError("the VM has ended"));
  }
  if (stop_requested_ || exit_.has_value()) {
    return absl::FailedPreconditionError(absl::StrCat("container ", id(), " is ending"));
  }
  return absl::OkStatus();
}

/// The error of a call that failed because the VM has, with what is known about that.
absl::Status Container::StartFailure(absl::Status status) {
  // A VM that dies breaks its calls first: give the news of its death a moment.
  if (absl::IsUnavailable(status) && vm_ != nullptr) vm_->WaitForEnd(kDeathNews);
  std::unique_lock lock(mutex_);
  if (!failed_ && !vm_ended_) return status;
  if (vm_ended_ && !failed_) {
    changed_.wait_for(lock, kQuitWait, [&] { return exit_.has_value(); });
  }
  told_ = true;
  changed_.notify_all();
  std::string message = exit_.has_value() && !exit_->error.empty() ? exit_->error : error_;
  if (message.empty()) message = std::string(status.message());
  return absl::UnavailableError(message);
}

v1::GetStateResponse Container::GetState() {
  std::lock_guard lock(mutex_);
  v1::GetStateResponse state;
  state.set_container_id(id());
  state.set_phase(phase_);
  if (vm_ != nullptr && !vm_ended_) state.set_vm_pid(vm_->pid());
  if (exit_.has_value()) {
    *state.mutable_exit() = ExitStatusLocked();
    if (!exit_->error.empty()) state.set_error(exit_->error);
  }
  if (state.error().empty()) state.set_error(error_);
  state.set_kernel_release(kernel_release_);
  state.set_accelerator(runtime_.accelerator);
  return state;
}

absl::StatusOr<guest::ProcessSpec> Container::SpecOf(const v1::StartProcessRequest& request,
                                                     bool first) {
  model::ProcessConfiguration process = configuration_.init_process;
  if (first && !request.configuration_json().empty()) {
    return absl::InvalidArgumentError("the first process's configuration is that of the bundle");
  }
  if (!first) {
    ASSIGN_OR_RETURN(process, model::ProcessConfiguration::FromJson(request.configuration_json()));
  }
  if (process.executable.empty()) return absl::InvalidArgumentError("no program is named");
  guest::ProcessSpec spec;
  spec.add_arguments(process.executable);
  for (const std::string& argument : process.arguments) spec.add_arguments(argument);
  for (const std::string& entry : process.environment) spec.add_environment(entry);
  spec.set_working_directory(process.working_directory);
  spec.set_user(process.user);
  for (uint32_t group : process.supplemental_groups) spec.add_supplemental_groups(group);
  spec.set_terminal(process.terminal);
  if (process.terminal && request.has_size()) {
    spec.mutable_size()->set_rows(request.size().rows());
    spec.mutable_size()->set_columns(request.size().columns());
  }
  spec.set_stdin(!request.stdio().stdin_socket().empty() || (first && configuration_.open_stdin));
  for (const model::Rlimit& limit : process.rlimits) {
    guest::Rlimit* added = spec.add_rlimits();
    added->set_type(limit.limit);
    added->set_soft(limit.soft);
    added->set_hard(limit.hard);
  }
  for (const std::string& name : model::EffectiveCapabilities(
           configuration_.cap_add, configuration_.cap_drop, configuration_.privileged)) {
    spec.add_capabilities(name);
  }
  return spec;
}

absl::StatusOr<v1::StartProcessResponse> Container::StartProcess(
    const v1::StartProcessRequest& request) {
  const std::string& process_id = request.process_id();
  if (process_id.empty()) return absl::InvalidArgumentError("process_id is missing");
  const bool first = process_id == id();
  ASSIGN_OR_RETURN(guest::ProcessSpec spec, SpecOf(request, first));
  {
    std::lock_guard lock(mutex_);
    if (!first && further_.size() >= kMaxFurtherProcesses) {
      return absl::ResourceExhaustedError("too many processes");
    }
    const bool fresh = first ? !std::exchange(first_requested_, true)
                             : further_.emplace(process_id, nullptr).second;
    if (!fresh) return absl::AlreadyExistsError(absl::StrCat("process '", process_id, "' exists"));
  }

  auto start = [&]() -> absl::StatusOr<v1::StartProcessResponse> {
    if (!first) {
      std::lock_guard lock(mutex_);
      if (phase_ != v1::GetStateResponse::RUNNING || stop_requested_ || Ending()) {
        return absl::FailedPreconditionError(absl::StrCat("container ", id(), " does not run"));
      }
    }
    ContainerProcess::Options options;
    options.start.set_container_id(id());
    options.start.set_process_id(process_id);
    *options.start.mutable_spec() = spec;
    options.stdio = request.stdio();
    if (first) {
      options.log = &log_;
      options.on_end = [this] { OnFirstProcessEnd(); };
    }
    ASSIGN_OR_RETURN(std::shared_ptr<ContainerProcess> process,
                     ContainerProcess::Create(std::move(options)));
    RETURN_IF_ERROR(WaitForGuest());
    if (first) {
      // Known before it runs: its end may come at once.
      std::lock_guard lock(mutex_);
      first_ = process;
    }
    absl::StatusOr<std::optional<common::v1::ExecFailure>> failure = process->Start(*agent_);
    if (!failure.ok()) return StartFailure(failure.status());
    v1::StartProcessResponse response;
    if (failure->has_value()) {
      *response.mutable_exec_failure() = **failure;
      return response;
    }
    std::lock_guard lock(mutex_);
    if (!first) {
      further_[process_id] = std::move(process);
    } else if (phase_ < v1::GetStateResponse::RUNNING) {
      phase_ = v1::GetStateResponse::RUNNING;
    }
    return response;
  };

  absl::StatusOr<v1::StartProcessResponse> response = start();
  const bool started = response.ok() && !response->has_exec_failure();
  spdlog::debug("container={} process={} started={}", id(), process_id, started);
  if (!first) {
    if (!started) {
      std::lock_guard lock(mutex_);
      further_.erase(process_id);
    }
    return response;
  }
  if (started) {
    absl::Status written =
        WriteHelperRecord(base::FormatTimestamp(std::chrono::system_clock::now()));
    if (!written.ok()) {
      spdlog::error("container={} can't write helper.json error=\"{}\"", id(),
                    std::string(written.message()));
    }
    return response;
  }
  // No first process, no container.
  if (response.ok()) {
    RecordExit(response->exec_failure().exit_code(),
               base::NanosecondsOf(std::chrono::system_clock::now()), "");
  }
  std::lock_guard lock(mutex_);
  told_ = true;
  if (!response.ok() && !Ending()) {
    failed_ = true;
    error_ = std::string(response.status().message());
  }
  changed_.notify_all();
  return response;
}

void Container::OnFirstProcessEnd() {
  absl::StatusOr<common::v1::ExitStatus> exit = first_->exit();
  if (exit.ok()) {
    RecordExit(exit->exit_code(), exit->finished_ns(), "");
    return;
  }
  std::lock_guard lock(mutex_);
  if (!Ending()) {
    failed_ = true;
    error_ = std::string(exit.status().message());
  }
  changed_.notify_all();
}

void Container::RecordExit(int exit_code, int64_t finished_ns, const std::string& error) {
  std::lock_guard record_lock(record_mutex_);
  {
    std::lock_guard lock(mutex_);
    if (exit_.has_value()) return;
  }
  const model::ExitRecord record{exit_code, finished_ns, error};
  absl::Status written = base::WriteFileAtomically(options_.bundle.Exit(), record.ToJson());
  if (!written.ok()) {
    spdlog::error("container={} can't write exit.json error=\"{}\"", id(),
                  std::string(written.message()));
  }
  spdlog::info(
      "container={} has ended exit_code={}{}", id(), exit_code,
      error.empty() ? "" : " error=\"" + absl::StrReplaceAll(error, {{"\n", " | "}}) + "\"");
  std::lock_guard lock(mutex_);
  exit_ = record;
  changed_.notify_all();
}

common::v1::ExitStatus Container::ExitStatusLocked() const {
  common::v1::ExitStatus status;
  status.set_exit_code(exit_->exit_code);
  status.set_finished_ns(exit_->finished_ns);
  return status;
}

absl::StatusOr<common::v1::ExitStatus> Container::WaitProcess(const std::string& process_id) {
  std::unique_lock lock(mutex_);
  if (process_id == id()) {
    changed_.wait(lock, [&] { return exit_.has_value(); });
    told_ = true;
    changed_.notify_all();
    return ExitStatusLocked();
  }
  auto found = further_.find(process_id);
  if (found == further_.end() || found->second == nullptr) {
    return absl::NotFoundError(absl::StrCat("no process '", process_id, "' in container ", id()));
  }
  std::shared_ptr<ContainerProcess> process = found->second;
  lock.unlock();
  // Ends at the latest with the VM, which breaks its call.
  process->WaitForEnd(std::chrono::hours(24 * 365 * 100));
  absl::StatusOr<common::v1::ExitStatus> exit = process->exit();
  lock.lock();
  further_.erase(process_id);
  if (exit.ok() || !Ending()) return exit;
  // It went down with its VM.
  common::v1::ExitStatus killed;
  killed.set_exit_code(kExitVmDied);
  killed.set_finished_ns(base::NanosecondsOf(std::chrono::system_clock::now()));
  return killed;
}

absl::Status Container::SignalProcess(const std::string& process_id, int signal) {
  if (signal < 1 || signal > 64) {
    return absl::InvalidArgumentError(absl::StrCat(signal, " is not a signal"));
  }
  {
    std::lock_guard lock(mutex_);
    if (process_id == id() ? !first_requested_ : !further_.contains(process_id)) {
      return absl::NotFoundError(absl::StrCat("no process '", process_id, "' in container ", id()));
    }
    if (Ending())
      return absl::FailedPreconditionError(absl::StrCat("container ", id(), " is ending"));
    if (!guest_up_) return absl::FailedPreconditionError("the VM is booting");
  }
  return agent_->Signal(id(), process_id, signal, kSignalTimeout);
}

absl::Status Container::ResizeTerminal(const std::string& process_id, uint32_t rows,
                                       uint32_t columns) {
  {
    std::lock_guard lock(mutex_);
    if (process_id == id() ? !first_requested_ : !further_.contains(process_id)) {
      return absl::NotFoundError(absl::StrCat("no process '", process_id, "' in container ", id()));
    }
    if (Ending() || !guest_up_) {
      return absl::FailedPreconditionError(absl::StrCat("container ", id(), " does not run"));
    }
  }
  return agent_->Resize(id(), process_id, rows, columns, kResizeTimeout);
}

void Container::RequestStop(int signal, milliseconds timeout) {
  std::lock_guard lock(mutex_);
  stop_requested_ = true;
  if (timeout.count() > 0) stop_signals_.push_back(signal);
  // Of several, the most impatient one is obeyed.
  stop_deadline_ = std::min(stop_deadline_, Clock::now() + std::max(timeout, milliseconds(0)));
  changed_.notify_all();
}

absl::StatusOr<common::v1::ExitStatus> Container::Stop(int signal, milliseconds timeout) {
  if (signal < 1 || signal > 64) {
    return absl::InvalidArgumentError(absl::StrCat(signal, " is not a signal"));
  }
  RequestStop(signal, timeout);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return phase_ == v1::GetStateResponse::STOPPED; });
  told_ = true;
  changed_.notify_all();
  return ExitStatusLocked();
}

void Container::Run() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return stop_requested_ || Ending(); });
  const bool started = phase_ == v1::GetStateResponse::RUNNING;
  if (!Ending() && started) StopFirstProcess(lock);
  // A VM that dies breaks its calls first: the true reason may be a moment behind.
  if (failed_ && vm_ != nullptr) changed_.wait_for(lock, kDeathNews, [&] { return vm_ended_; });
  phase_ = v1::GetStateResponse::STOPPING;
  const bool asked_to_stop = stop_requested_;
  const bool died = vm_ended_;
  std::shared_ptr<ContainerProcess> first = first_;
  lock.unlock();

  EndVm();
  // What came through the port before the VM died is still to be delivered, an exit status perhaps.
  if (first != nullptr && !first->WaitForEnd(kSlowClientWait)) {
    first->AbandonSlowClients();
    first->WaitForEnd(kKillWait);
  }
  lock.lock();
  std::string error = error_;
  lock.unlock();
  if (died) {
    const std::optional<base::ProcessEnd> end = vm_->end();
    error = absl::StrCat("the VM died: QEMU ", end.has_value() ? end->ToString() : "ended");
  } else if (error.empty() && !asked_to_stop) {
    error = "the VM ended";
  }
  if (vm_ != nullptr && (died || !error.empty())) {
    if (const std::string tail = vm_->ConsoleTail(); !tail.empty()) {
      absl::StrAppend(&error, "; the console's last words: ", tail);
    }
  }
  RecordExit(started || asked_to_stop ? kExitVmDied : kExitNotStarted,
             base::NanosecondsOf(std::chrono::system_clock::now()), error);

  spdlog::debug("container={} the VM has ended", id());
  lock.lock();
  phase_ = v1::GetStateResponse::STOPPED;
  changed_.notify_all();
  changed_.wait_for(lock, kLinger, [&] { return told_; });
}

void Container::StopFirstProcess(std::unique_lock<std::mutex>& lock) {
  while (!Ending() && Clock::now() < stop_deadline_) {
    if (!stop_signals_.empty()) {
      const int signal = stop_signals_.front();
      stop_signals_.erase(stop_signals_.begin());
      const milliseconds patience =
          std::clamp(std::chrono::ceil<milliseconds>(stop_deadline_ - Clock::now()),
                     milliseconds(100), kSignalTimeout);
      lock.unlock();
      absl::Status sent = agent_->Signal(id(), id(), signal, patience);
      if (!sent.ok()) {
        spdlog::warn("container={} can't signal its process signal={} error=\"{}\"", id(), signal,
                     std::string(sent.message()));
      }
      lock.lock();
      continue;
    }
    changed_.wait_until(lock, stop_deadline_, [&] {
      return Ending() || !stop_signals_.empty() || Clock::now() >= stop_deadline_;
    });
  }
  if (Ending()) return;
  std::shared_ptr<ContainerProcess> first = first_;
  lock.unlock();
  absl::Status killed = agent_->Signal(id(), id(), SIGKILL, kKillCallTimeout);
  lock.lock();
  if (!killed.ok() && !absl::IsNotFound(killed)) {
    spdlog::warn("container={} the guest does not answer error=\"{}\"", id(),
                 std::string(killed.message()));
    agent_dead_ = true;
    return;
  }
  if (changed_.wait_for(lock, kKillWait, [&] { return Ending(); })) return;
  // It may be its client that keeps us from reading that it has ended.
  if (first != nullptr) first->AbandonSlowClients();
  changed_.wait_for(lock, kKillWait, [&] { return Ending(); });
}

void Container::EndVm() {
  if (vm_ == nullptr) return;
  std::unique_lock lock(mutex_);
  const bool guest_up = guest_up_ && !agent_dead_ && !vm_ended_;
  std::vector<std::shared_ptr<ContainerProcess>> further;
  for (const auto& [process_id, process] : further_) {
    if (process != nullptr) further.push_back(process);
  }
  lock.unlock();
  if (guest_up) {
    // The kernel has killed them with the first one: their ends are on the way.
    const Clock::time_point deadline = Clock::now() + kFurtherProcessesWait;
    for (const auto& process : further) {
      process->WaitForEnd(
          std::max(milliseconds(0), std::chrono::ceil<milliseconds>(deadline - Clock::now())));
    }
    // What is thrown away need not be unmounted.
    if (!configuration_.auto_remove && agent_->PowerOff(kPowerOffCallTimeout).ok()) {
      vm_->WaitForEnd(kPowerOffWait);
    }
  }
  if (!vm_->end().has_value() && vm_->Quit(kQuitTimeout).ok()) vm_->WaitForEnd(kQuitWait);
  if (!vm_->end().has_value()) {
    vm_->Kill();
    if (!vm_->WaitForEnd(kKernelWait)) {
      spdlog::error("container={} the kernel does not end QEMU pid={}", id(), vm_->pid());
    }
  }
  for (const auto& process : further) process->AbandonSlowClients();
}

}  // namespace container::runtime_linux
