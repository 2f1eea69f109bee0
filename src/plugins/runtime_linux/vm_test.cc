// The real helper with real VMs: each test makes a bundle, launches container-runtime-linux on it
// and speaks proto/runtime.proto to it.
//
// Needs the build's kernel and initramfs, qemu-system-x86_64, mkfs.erofs, mke2fs and
// busybox-static; fails aloud where one is missing.
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/process_identity.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/container.h"
#include "proto/runtime.grpc.pb.h"

namespace container::runtime_linux {
namespace {

namespace v1 = ::container::runtime::v1;
using std::chrono::milliseconds;
using std::chrono::steady_clock;
using ::testing::HasSubstr;

constexpr milliseconds kLong(120'000);
constexpr int64_t kMib = int64_t{1} << 20;

std::string BuildDir() {
  const char* folder = std::getenv("CONTAINER_BUILD_DIR");
  return folder == nullptr ? "." : folder;
}
std::string Helper() {
  return BuildDir() +
         "/libexec/container/plugins/container-runtime-linux/bin/container-runtime-linux";
}
std::string Kernel() {
  const char* chosen = std::getenv("CONTAINER_TEST_KERNEL");
  return chosen != nullptr ? chosen : BuildDir() + "/share/container/vmlinux";
}
std::string Initramfs() { return BuildDir() + "/share/container/initramfs.cpio"; }

void RunTool(const std::string& program, std::vector<std::string> arguments) {
  auto result = base::RunCommand({.program = program, .arguments = std::move(arguments)}, kLong);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_EQ(result->end.ShellStatus(), 0) << program << ": " << result->standard_error;
}

milliseconds Since(steady_clock::time_point begin) {
  return std::chrono::duration_cast<milliseconds>(steady_clock::now() - begin);
}

/// Images made once for all tests.
class Images : public ::testing::Environment {
 public:
  void SetUp() override {
    for (const std::string& path : {Helper(), Kernel(), Initramfs()}) {
      ASSERT_EQ(::access(path.c_str(), R_OK), 0) << path << " is missing: run 'make build kernel'";
    }
    auto folder = base::TemporaryDirectory::Create("runtime-linux-");
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = std::make_unique<base::TemporaryDirectory>(*std::move(folder));
    const std::string root = folder_->path() + "/root";
    for (const char* name : {"/bin", "/etc", "/tmp", "/proc", "/dev", "/sys"}) {
      ASSERT_TRUE(base::MakeDirectories(root + name, 0755).ok());
    }
    RunTool("cp", {"/bin/busybox", root + "/bin/busybox"});
    for (const char* name : {"sh", "cat", "echo", "true", "sleep", "stty", "head", "dd", "uname",
                             "kill", "wc", "seq", "yes", "tty", "touch", "sync", "ls"}) {
      ASSERT_EQ(::symlink("busybox", (root + "/bin/" + name).c_str()), 0);
    }
    RunTool("mkfs.erofs", {"--all-root", erofs(), root});
    RunTool("mke2fs",
            {"-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1", ext4(), "64M"});
  }
  void TearDown() override { folder_.reset(); }
  std::string erofs() const { return folder_->path() + "/rootfs.erofs"; }
  std::string ext4() const { return folder_->path() + "/writable.ext4"; }

 private:
  std::unique_ptr<base::TemporaryDirectory> folder_;
};

Images* const images = static_cast<Images*>(::testing::AddGlobalTestEnvironment(new Images));

/// The client's end of one standard stream.
class Stream {
 public:
  explicit Stream(std::string path) : path_(std::move(path)) {
    auto listener = base::ListenUnix(path_);
    EXPECT_TRUE(listener.ok()) << listener.status();
    if (listener.ok()) listener_ = *std::move(listener);
  }
  const std::string& path() const { return path_; }
  base::Fd& connection() {
    if (!connection_.valid()) {
      EXPECT_TRUE(base::PollFd(listener_.get(), POLLIN, kLong).value_or(false));
      auto accepted = base::AcceptUnix(listener_.get());
      if (accepted.ok()) connection_ = *std::move(accepted);
    }
    return connection_;
  }
  std::string ReadAll() {
    return base::ReadAll(connection().get(), 256 << 20).value_or("(reading failed)");
  }
  /// Reads until `text` has come.
  std::string ReadUntil(const std::string& text) {
    std::string all;
    char c;
    while (all.find(text) == std::string::npos) {
      if (!base::PollFd(connection().get(), POLLIN, kLong).value_or(false)) break;
      if (::recv(connection_.get(), &c, 1, 0) != 1) break;
      all += c;
    }
    return all;
  }
  void Write(const std::string& text) {
    EXPECT_TRUE(base::WriteAll(connection().get(), text).ok());
  }
  void CloseWriting() { ::shutdown(connection().get(), SHUT_WR); }

 private:
  std::string path_;
  base::Fd listener_;
  base::Fd connection_;
};

/// A bundle and its helper.
class Session {
 public:
  struct Options {
    std::vector<std::string> command = {"true"};
    bool terminal = false;
    bool auto_remove = false;
    int cpus = 1;
    std::string kernel = Kernel();
    std::string qemu = "qemu-system-x86_64";
  };

  explicit Session(const Options& options, const std::string& id = "test") : id_(id) {
    auto folder = base::TemporaryDirectory::Create("run-");
    EXPECT_TRUE(folder.ok());
    folder_ = std::make_unique<base::TemporaryDirectory>(*std::move(folder));
    bundle_.path = folder_->path();
    model::ContainerConfiguration configuration;
    configuration.id = id_;
    configuration.hostname = id_;
    configuration.resources.cpus = options.cpus;
    configuration.resources.memory_bytes = 256 * kMib;
    configuration.auto_remove = options.auto_remove;
    configuration.init_process.executable = options.command[0];
    configuration.init_process.arguments.assign(options.command.begin() + 1, options.command.end());
    configuration.init_process.environment = {"PATH=/bin"};
    configuration.init_process.terminal = options.terminal;
    model::RuntimeConfiguration runtime{options.kernel, Initramfs(), options.qemu, "tcg"};
    EXPECT_TRUE(base::WriteFileAtomically(bundle_.Configuration(), configuration.ToJson()).ok());
    EXPECT_TRUE(base::WriteFileAtomically(bundle_.Runtime(), runtime.ToJson()).ok());
    EXPECT_EQ(::link(images->erofs().c_str(), bundle_.RootFilesystem().c_str()), 0);
    EXPECT_TRUE(base::CopySparse(images->ext4(), bundle_.Writable()).ok());
    Launch();
  }

  ~Session() {
    if (HasFailure()) {
      ADD_FAILURE() << "helper: " << base::ReadFile(folder_->path() + "/helper.log").value_or("")
                    << "\nconsole: " << base::ReadFile(bundle_.ConsoleLog()).value_or("");
    }
    stub_.reset();
    if (helper_.has_value()) {
      // Its QEMU goes with it.
      helper_->Signal(SIGKILL).IgnoreError();
      (void)helper_->Wait();
    }
  }

  static bool HasFailure() { return ::testing::Test::HasFailure(); }

  base::SubprocessSpec HelperSpec() const {
    return {.program = Helper(),
            .arguments = {"start", "--bundle", bundle_.path, "--socket", socket(), "--log",
                          folder_->path() + "/helper.log"}};
  }

  void Launch() {
    auto listener = base::ListenUnix(socket());
    ASSERT_TRUE(listener.ok()) << listener.status();
    base::SubprocessSpec spec = HelperSpec();
    spec.arguments.insert(spec.arguments.end(), {"--listen-fd", "3"});
    spec.fds = {{listener->get(), 3}};
    launched_ = steady_clock::now();
    auto helper = base::Subprocess::Spawn(spec);
    ASSERT_TRUE(helper.ok()) << helper.status();
    helper_.emplace(*std::move(helper));
    listener->Reset();
    auto channel = base::ConnectRpc(socket());
    ASSERT_TRUE(channel.ok()) << channel.status();
    stub_ = v1::Runtime::NewStub(*channel);
  }

  std::string socket() const { return folder_->path() + "/r.sock"; }
  const base::Bundle& bundle() const { return bundle_; }
  base::Subprocess& helper() { return *helper_; }
  v1::Runtime::Stub& stub() { return *stub_; }
  steady_clock::time_point launched() const { return launched_; }
  const std::string& id() const { return id_; }

  /// Streams are named by process and stream.
  Stream& stream(const std::string& name) {
    auto& stream = streams_[name];
    if (stream == nullptr) stream = std::make_unique<Stream>(folder_->path() + "/io-" + name);
    return *stream;
  }

  /// `wanted` holds letters of i, o, e.
  common::v1::Stdio Stdio(const std::string& wanted, const std::string& process) {
    common::v1::Stdio stdio;
    if (wanted.find('i') != std::string::npos)
      stdio.set_stdin_socket(stream(process + ".in").path());
    if (wanted.find('o') != std::string::npos)
      stdio.set_stdout_socket(stream(process + ".out").path());
    if (wanted.find('e') != std::string::npos)
      stdio.set_stderr_socket(stream(process + ".err").path());
    return stdio;
  }

  absl::StatusOr<v1::StartProcessResponse> Start(const std::string& wanted = "oe") {
    v1::StartProcessRequest request;
    request.set_process_id(id_);
    *request.mutable_stdio() = Stdio(wanted, id_);
    request.mutable_size()->set_rows(33);
    request.mutable_size()->set_columns(77);
    return StartProcess(request);
  }

  absl::StatusOr<v1::StartProcessResponse> Exec(const std::string& process,
                                                std::vector<std::string> command,
                                                const std::string& wanted = "oe") {
    model::ProcessConfiguration configuration;
    configuration.executable = command[0];
    configuration.arguments.assign(command.begin() + 1, command.end());
    configuration.environment = {"PATH=/bin"};
    v1::StartProcessRequest request;
    request.set_process_id(process);
    request.set_configuration_json(configuration.ToJson());
    *request.mutable_stdio() = Stdio(wanted, process);
    return StartProcess(request);
  }

  absl::StatusOr<v1::StartProcessResponse> StartProcess(const v1::StartProcessRequest& request) {
    grpc::ClientContext context;
    base::SetDeadline(context, kLong);
    v1::StartProcessResponse response;
    RETURN_IF_ERROR(base::FromGrpc(stub_->StartProcess(&context, request, &response)));
    return response;
  }

  absl::StatusOr<int> Wait(const std::string& process = "") {
    grpc::ClientContext context;
    base::SetDeadline(context, kLong);
    v1::WaitProcessRequest request;
    request.set_process_id(process.empty() ? id_ : process);
    v1::WaitProcessResponse response;
    RETURN_IF_ERROR(base::FromGrpc(stub_->WaitProcess(&context, request, &response)));
    return response.exit().exit_code();
  }

  absl::StatusOr<int> Stop(int signal, milliseconds timeout) {
    grpc::ClientContext context;
    base::SetDeadline(context, kLong);
    v1::StopRequest request;
    request.set_signal(signal);
    request.set_timeout_ms(timeout.count());
    v1::StopResponse response;
    RETURN_IF_ERROR(base::FromGrpc(stub_->Stop(&context, request, &response)));
    return response.exit().exit_code();
  }

  absl::Status Signal(const std::string& process, int signal) {
    grpc::ClientContext context;
    base::SetDeadline(context, kLong);
    v1::SignalProcessRequest request;
    request.set_process_id(process);
    request.set_signal(signal);
    v1::SignalProcessResponse response;
    return base::FromGrpc(stub_->SignalProcess(&context, request, &response));
  }

  v1::GetStateResponse State() {
    grpc::ClientContext context;
    base::SetDeadline(context, kLong);
    v1::GetStateResponse response;
    EXPECT_EQ(base::FromGrpc(stub_->GetState(&context, {}, &response)), absl::OkStatus());
    return response;
  }

  absl::StatusOr<model::ExitRecord> ExitRecord() {
    ASSIGN_OR_RETURN(std::string text, base::ReadFile(bundle_.Exit()));
    return model::ExitRecord::FromJson(text);
  }

  /// The texts of container.log, one "stream tag text" a line.
  std::string Log() {
    std::string log;
    for (absl::string_view line :
         absl::StrSplit(base::ReadFile(bundle_.Log()).value_or(""), '\n')) {
      if (size_t space = line.find(' '); space != absl::string_view::npos) {
        absl::StrAppend(&log, line.substr(space + 1), "\n");
      }
    }
    return log;
  }

  void ExpectHelperEndsWell() {
    auto end = helper_->WaitFor(milliseconds(20'000));
    ASSERT_TRUE(end.ok() && end->has_value()) << "the helper does not end";
    EXPECT_EQ((*end)->ShellStatus(), 0);
  }

 private:
  const std::string id_;
  std::unique_ptr<base::TemporaryDirectory> folder_;
  base::Bundle bundle_;
  std::optional<base::Subprocess> helper_;
  std::unique_ptr<v1::Runtime::Stub> stub_;
  std::map<std::string, std::unique_ptr<Stream>> streams_;
  steady_clock::time_point launched_;
};

bool WaitForDeath(pid_t pid) {
  for (int i = 0; i < 500; ++i) {
    if (!base::IdentifyProcess(pid).ok()) return true;
    std::this_thread::sleep_for(milliseconds(10));  // a stranger's child: nothing to poll
  }
  return false;
}

TEST(RuntimeTest, OutputStatusAndRecordOfAShortRun) {
  Session run({.command = {"sh", "-c", "echo hello; echo oops >&2; exit 7"}});
  auto started = run.Start();
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_FALSE(started->has_exec_failure());
  EXPECT_EQ(run.stream("test.out").ReadAll(), "hello\n");
  EXPECT_EQ(run.stream("test.err").ReadAll(), "oops\n");
  EXPECT_EQ(run.Wait().value_or(-1), 7);
  auto record = run.ExitRecord();
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->exit_code, 7);
  EXPECT_EQ(record->error, "");
  EXPECT_NEAR(record->finished_ns / 1e9, time(nullptr), 30);
  EXPECT_THAT(run.Log(), HasSubstr("stdout F hello\n"));
  EXPECT_THAT(run.Log(), HasSubstr("stderr F oops\n"));
  run.ExpectHelperEndsWell();
}

/// A figure in KiB of /proc/<pid>/<file>.
int64_t Kib(pid_t pid, const std::string& file, const std::string& key) {
  const std::string text = base::ReadFile(absl::StrCat("/proc/", pid, "/", file)).value_or("");
  const size_t at = text.find("\n" + key + ":");
  return at == std::string::npos ? -1 : std::atoll(text.c_str() + at + key.size() + 2);
}

/// Processor time that a process has used, to the clock tick of 10 ms.
milliseconds CpuTime(pid_t pid) {
  const std::string text = base::ReadFile(absl::StrCat("/proc/", pid, "/stat")).value_or("");
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(std::min(text.size(), text.rfind(')') + 2)), ' ');
  if (fields.size() < 13) return milliseconds(-1);
  return milliseconds((std::atoll(fields[11].c_str()) + std::atoll(fields[12].c_str())) * 1000 /
                      ::sysconf(_SC_CLK_TCK));
}

TEST(RuntimeTest, IsQuickAndSmall) {
  Session run({.command = {"cat"}, .auto_remove = true});
  ASSERT_TRUE(run.Start("io").ok());
  const milliseconds start = Since(run.launched());
  const milliseconds qemu_cpu = CpuTime(run.State().vm_pid());
  run.stream("test.in").Write("x\n");
  run.stream("test.out").ReadUntil("x\n");
  const int64_t helper_rss = Kib(run.helper().pid(), "status", "VmRSS");
  const int64_t qemu_pss = Kib(run.State().vm_pid(), "smaps_rollup", "Pss");
  const auto begin = steady_clock::now();
  run.stream("test.in").CloseWriting();
  EXPECT_EQ(run.Wait().value_or(-1), 0);
  const milliseconds end = Since(begin);
  run.ExpectHelperEndsWell();
  const milliseconds helper_end = Since(begin);
  if (std::getenv("CONTAINER_LOG_LEVEL") != nullptr) {
    std::printf("%s", base::ReadFile(run.bundle().path + "/helper.log").value_or("").c_str());
  }
  std::printf(
      "helper to process: %lld ms (QEMU's processor time: %lld ms); end of input to status: %lld "
      "ms; to the helper's end: %lld ms; helper RSS %.1f MiB; QEMU PSS %.1f MiB\n",
      static_cast<long long>(start.count()), static_cast<long long>(qemu_cpu.count()),
      static_cast<long long>(end.count()), static_cast<long long>(helper_end.count()),
      helper_rss / 1024.0, qemu_pss / 1024.0);
  EXPECT_GT(helper_rss, 0);
  EXPECT_LT(helper_rss, 16 << 10);
  EXPECT_LT(end.count(), 2000);
}

TEST(RuntimeTest, ProgramsThatCantBeExecuted) {
  {
    Session run({.command = {"no-such-program"}});
    auto started = run.Start();
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_EQ(started->exec_failure().exit_code(), 127);
    run.ExpectHelperEndsWell();
    EXPECT_EQ(run.ExitRecord().value_or(model::ExitRecord{}).exit_code, 127);
  }
  Session run({.command = {"/etc"}});
  auto started = run.Start();
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->exec_failure().exit_code(), 126);
}

TEST(RuntimeTest, InputIsCarriedToItsEnd) {
  Session run({.command = {"wc", "-c"}});
  auto started = run.Start("ioe");
  ASSERT_TRUE(started.ok()) << started.status();
  Stream& in = run.stream("test.in");
  const std::string block(1 << 20, 'x');
  std::thread writer([&] {
    for (int i = 0; i < 3; ++i) in.Write(block);
    in.CloseWriting();
  });
  EXPECT_EQ(run.stream("test.out").ReadAll(), "3145728\n");
  writer.join();
  EXPECT_EQ(run.Wait().value_or(-1), 0);
}

TEST(RuntimeTest, NothingIsCutOffForASlowClient) {
  Session run({.command = {"seq", "1", "400000"}});
  ASSERT_TRUE(run.Start().ok());
  std::this_thread::sleep_for(milliseconds(1500));  // The process meets the back-pressure.
  const std::string all = run.stream("test.out").ReadAll();
  EXPECT_EQ(all.size(), 2688895u);
  EXPECT_THAT(all.substr(all.size() - 7), "400000\n");
  EXPECT_EQ(run.Wait().value_or(-1), 0);
}

TEST(RuntimeTest, OutputGoesOnToTheLogWhenTheClientHasGone) {
  Session run({.command = {"sh", "-c", "echo one; read line; seq 1 50000; echo last"}});
  ASSERT_TRUE(run.Start("io").ok());
  EXPECT_EQ(run.stream("test.out").ReadUntil("one\n"), "one\n");
  run.stream("test.out").connection().Reset();
  run.stream("test.in").Write("go\n");
  EXPECT_EQ(run.Wait().value_or(-1), 0);
  EXPECT_THAT(run.Log(), HasSubstr("stdout F 50000\nstdout F last\n"));
}

TEST(RuntimeTest, ATerminalHasItsSizeAndResizes) {
  Session run(
      {.command = {"sh", "-c", "tty; stty size; read x; stty size; exit 3"}, .terminal = true});
  auto started = run.Start("io");
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_THAT(run.stream("test.out").ReadUntil("33 77\r\n"), HasSubstr("/dev/pts/"));
  grpc::ClientContext context;
  v1::ResizeTerminalRequest request;
  request.set_process_id("test");
  request.mutable_size()->set_rows(20);
  request.mutable_size()->set_columns(100);
  v1::ResizeTerminalResponse response;
  EXPECT_TRUE(run.stub().ResizeTerminal(&context, request, &response).ok());
  run.stream("test.in").Write("\n");
  EXPECT_THAT(run.stream("test.out").ReadAll(), HasSubstr("20 100"));
  EXPECT_EQ(run.Wait().value_or(-1), 3);
}

TEST(RuntimeTest, FurtherProcesses) {
  Session run({.command = {"sleep", "1000"}, .cpus = 2});
  ASSERT_TRUE(run.Start().ok());
  EXPECT_EQ(run.Exec("test", {"true"}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(run.Start("").status().code(), absl::StatusCode::kAlreadyExists);

  ASSERT_TRUE(run.Exec("a", {"sh", "-c", "echo in; cat; exit 9"}, "io").ok());
  EXPECT_EQ(run.Exec("a", {"true"}, "").status().code(), absl::StatusCode::kAlreadyExists);
  run.stream("a.in").Write("through\n");
  run.stream("a.in").CloseWriting();
  EXPECT_EQ(run.stream("a.out").ReadAll(), "in\nthrough\n");
  EXPECT_EQ(run.Wait("a").value_or(-1), 9);
  EXPECT_EQ(run.Wait("a").status().code(), absl::StatusCode::kNotFound);

  auto missing = run.Exec("b", {"nothing"}, "");
  ASSERT_TRUE(missing.ok()) << missing.status();
  EXPECT_EQ(missing->exec_failure().exit_code(), 127);
  EXPECT_EQ(run.Wait("b").status().code(), absl::StatusCode::kNotFound);

  ASSERT_TRUE(run.Exec("c", {"sleep", "1000"}, "").ok());
  EXPECT_TRUE(run.Signal("c", SIGTERM).ok());
  EXPECT_EQ(run.Wait("c").value_or(-1), 143);

  // One that is blocked by a client which does not read holds up nobody else.
  ASSERT_TRUE(run.Exec("d", {"yes"}, "o").ok());
  run.stream("d.out").connection();
  std::this_thread::sleep_for(milliseconds(500));
  ASSERT_TRUE(run.Exec("e", {"echo", "free"}, "o").ok());
  EXPECT_EQ(run.stream("e.out").ReadAll(), "free\n");
  EXPECT_EQ(run.Wait("e").value_or(-1), 0);

  absl::StatusOr<int> exec_end;
  ASSERT_TRUE(run.Exec("f", {"sleep", "1000"}, "").ok());
  std::thread waiter([&] { exec_end = run.Wait("f"); });
  EXPECT_EQ(run.Stop(SIGKILL, milliseconds(0)).value_or(-1), 137);
  waiter.join();
  EXPECT_EQ(exec_end.value_or(-1), 137) << exec_end.status();
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, StopSendsTheSignalFirst) {
  Session run(
      {.command = {"sh", "-c",
                   "trap 'echo bye; exit 4' TERM; echo up; while true; do sleep 0.1; done"}});
  ASSERT_TRUE(run.Start("o").ok());
  run.stream("test.out").ReadUntil("up\n");
  EXPECT_EQ(run.Stop(SIGTERM, milliseconds(20'000)).value_or(-1), 4);
  EXPECT_EQ(run.stream("test.out").ReadAll(), "bye\n");
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, StopKillsWhatIgnoresTheSignal) {
  Session run({.command = {"sh", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done"}});
  ASSERT_TRUE(run.Start("o").ok());
  run.stream("test.out").ReadUntil("up\n");
  const auto begin = steady_clock::now();
  EXPECT_EQ(run.Stop(SIGTERM, milliseconds(500)).value_or(-1), 137);
  EXPECT_GE(Since(begin).count(), 500);
  EXPECT_LT(Since(begin).count(), 8000);
  EXPECT_EQ(run.ExitRecord()->error, "");
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, StopDoesNotWaitForAClientThatDoesNotRead) {
  Session run({.command = {"yes"}});
  ASSERT_TRUE(run.Start("o").ok());
  run.stream("test.out").connection();
  std::this_thread::sleep_for(milliseconds(500));
  const auto begin = steady_clock::now();
  EXPECT_EQ(run.Stop(SIGTERM, milliseconds(300)).value_or(-1), 137);
  EXPECT_LT(Since(begin).count(), 12'000);
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, SigtermToTheHelperStopsTheContainer) {
  Session run(
      {.command = {"sh", "-c", "trap 'exit 5' TERM; echo up; while true; do sleep 0.1; done"}});
  ASSERT_TRUE(run.Start("o").ok());
  run.stream("test.out").ReadUntil("up\n");
  EXPECT_TRUE(run.helper().Signal(SIGHUP).ok());  // ignored
  EXPECT_TRUE(run.helper().Signal(SIGTERM).ok());
  EXPECT_EQ(run.Wait().value_or(-1), 5);
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, StopOfAVmThatHasNotBooted) {
  Session run({});
  const auto begin = steady_clock::now();
  EXPECT_EQ(run.Stop(SIGTERM, milliseconds(5000)).value_or(-1), 137);
  EXPECT_LT(Since(begin).count(), 3000);
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, StopOfAFrozenGuest) {
  Session run({.command = {"sleep", "1000"}});
  ASSERT_TRUE(run.Start("").ok());
  const pid_t qemu = run.State().vm_pid();
  ASSERT_GT(qemu, 0);
  ASSERT_EQ(::kill(qemu, SIGSTOP), 0);
  const auto begin = steady_clock::now();
  EXPECT_EQ(run.Stop(SIGTERM, milliseconds(500)).value_or(-1), 137);
  EXPECT_LT(Since(begin).count(), 8000);
  EXPECT_FALSE(base::IdentifyProcess(qemu).ok());
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, QemuDiesWithTheHelper) {
  Session run({.command = {"sleep", "1000"}});
  ASSERT_TRUE(run.Start("").ok());
  const pid_t qemu = run.State().vm_pid();
  ASSERT_GT(qemu, 0);
  ASSERT_TRUE(run.helper().Signal(SIGKILL).ok());
  ASSERT_TRUE(run.helper().Wait().ok());
  EXPECT_TRUE(WaitForDeath(qemu));
  // Unambiguous: the lock is free, and there is a helper.json but no exit.json.
  EXPECT_TRUE(base::LockFile(run.bundle().path + "/helper.lock", false).ok());
  EXPECT_FALSE(run.ExitRecord().ok());
  auto helper = model::HelperRecord::FromJson(base::ReadFile(run.bundle().Helper()).value_or(""));
  ASSERT_TRUE(helper.ok());
  EXPECT_EQ(helper->pid, run.helper().pid());
  EXPECT_NE(helper->started_date, "");
}

TEST(RuntimeTest, TheDeathOfQemuIsNoticedAndRecorded) {
  Session run({.command = {"sh", "-c", "echo up; sleep 1000"}});
  ASSERT_TRUE(run.Start("o").ok());
  run.stream("test.out").ReadUntil("up\n");
  const pid_t qemu = run.State().vm_pid();
  const auto begin = steady_clock::now();
  ASSERT_EQ(::kill(qemu, SIGKILL), 0);
  EXPECT_EQ(run.Wait().value_or(-1), 137);
  EXPECT_LT(Since(begin).count(), 1000);
  auto record = run.ExitRecord();
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->exit_code, 137);
  EXPECT_THAT(record->error, HasSubstr("killed by signal 9"));
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, AKernelThatDoesNotBootIsAnErrorWithTheReason) {
  // QEMU itself refuses this one.
  Session run({.kernel = "/etc/hostname"});
  auto started = run.Start();
  EXPECT_EQ(started.status().code(), absl::StatusCode::kUnavailable) << started.status();
  EXPECT_THAT(std::string(started.status().message()), HasSubstr("QEMU"));
  run.ExpectHelperEndsWell();
  EXPECT_EQ(run.ExitRecord().value_or(model::ExitRecord{}).exit_code, 125);

  Session without({.qemu = "/no/such/qemu"});
  started = without.Start();
  EXPECT_EQ(started.status().code(), absl::StatusCode::kUnavailable) << started.status();
  EXPECT_THAT(std::string(started.status().message()), HasSubstr("/no/such/qemu"));
  without.ExpectHelperEndsWell();
}

TEST(RuntimeTest, OneBundleHasOneHelper) {
  Session run({.command = {"sleep", "1000"}});
  ASSERT_TRUE(run.Start("").ok());
  base::SubprocessSpec spec = run.HelperSpec();
  for (std::string& argument : spec.arguments) {
    if (argument == run.socket()) argument += "2";
  }
  auto second = base::RunCommand(spec, kLong);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->end.ShellStatus(), 1);
  EXPECT_THAT(second->standard_error, HasSubstr("another helper runs the bundle"));
  EXPECT_EQ(run.State().phase(), v1::GetStateResponse::RUNNING);
}

TEST(RuntimeTest, ANewRunKeepsTheWritableLayerAndForgetsTheOldExit) {
  Session run({.command = {"sh", "-c", "ls /kept; touch /kept; exit 6"}});
  ASSERT_TRUE(run.Start("").ok());
  EXPECT_EQ(run.Wait().value_or(-1), 6);
  run.ExpectHelperEndsWell();
  run.Launch();
  ASSERT_TRUE(run.Start("oe").ok());
  EXPECT_FALSE(run.ExitRecord().ok() && run.State().phase() == v1::GetStateResponse::RUNNING);
  EXPECT_EQ(run.stream("test.out").ReadAll(), "/kept\n");
  EXPECT_EQ(run.Wait().value_or(-1), 6);
  run.ExpectHelperEndsWell();
}

TEST(RuntimeTest, TenAtOnce) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 10; ++i) {
    threads.emplace_back([i] {
      Session run(
          {.command = {"sh", "-c", absl::StrCat("echo ", i, "; exit ", i)}, .auto_remove = true},
          absl::StrCat("ten-", i));
      auto started = run.Start();
      EXPECT_TRUE(started.ok()) << started.status();
      if (!started.ok()) return;
      EXPECT_EQ(run.stream(run.id() + ".out").ReadAll(), absl::StrCat(i, "\n"));
      EXPECT_EQ(run.Wait().value_or(-1), i);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ProbeTest, SaysWhetherAVmBoots) {
  auto probe = [](const std::string& kernel, const std::string& timeout_ms) {
    return base::RunCommand({.program = Helper(),
                             .arguments = {"probe", "--kernel", kernel, "--initramfs", Initramfs(),
                                           "--accelerator", "tcg", "--timeout-ms", timeout_ms}},
                            kLong);
  };
  auto good = probe(Kernel(), "60000");
  ASSERT_TRUE(good.ok()) << good.status();
  EXPECT_EQ(good->end.ShellStatus(), 0) << good->standard_output;
  EXPECT_THAT(good->standard_output, ::testing::MatchesRegex("ok 6\\.[^ ]+\n"));

  auto late = probe(Kernel(), "20");
  ASSERT_TRUE(late.ok()) << late.status();
  EXPECT_EQ(late->end.ShellStatus(), 1);
  EXPECT_THAT(late->standard_output, HasSubstr("not up after"));

  auto bad = probe("/etc/hostname", "60000");
  ASSERT_TRUE(bad.ok()) << bad.status();
  EXPECT_EQ(bad->end.ShellStatus(), 1);
  EXPECT_THAT(bad->standard_output, HasSubstr("QEMU"));
}

}  // namespace
}  // namespace container::runtime_linux
