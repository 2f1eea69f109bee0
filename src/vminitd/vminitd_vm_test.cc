// The agent in a real VM, under emulation.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "vminitd/vm_driver.h"

namespace container::vminitd {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;
using testing::Not;

constexpr char kId[] = "box";

std::unique_ptr<TestVm> BootVm(const std::string& folder) {
  absl::StatusOr<std::string> kernel = TestKernel();
  EXPECT_TRUE(kernel.ok()) << kernel.status();
  if (!kernel.ok()) return nullptr;
  const char* build = std::getenv("CONTAINER_BUILD_DIR");
  TestVm::Options options;
  options.kernel = *kernel;
  options.initramfs =
      std::string(build == nullptr ? "." : build) + "/share/container/initramfs.cpio";
  options.folder = folder;
  absl::StatusOr<std::unique_ptr<TestVm>> vm = TestVm::Boot(options);
  EXPECT_TRUE(vm.ok()) << vm.status();
  return vm.ok() ? *std::move(vm) : nullptr;
}

// A VM for every test would take minutes: most share one, in which a shell sleeps as the first
// process.
class VminitdVmTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    absl::StatusOr<base::TemporaryDirectory> folder = base::TemporaryDirectory::Create();
    ASSERT_TRUE(folder.ok());
    folder_ = new base::TemporaryDirectory(*std::move(folder));
    const absl::Status disks = MakeTestDisks(folder_->path());
    ASSERT_TRUE(disks.ok()) << disks;
    vm_ = BootVm(folder_->path()).release();
    ASSERT_NE(vm_, nullptr);
    absl::StatusOr<v1::HelloResponse> hello = vm_->Hello();
    ASSERT_TRUE(hello.ok()) << hello.status();
    hello_ = new v1::HelloResponse(*hello);
    const absl::Status created = vm_->Create(kId);
    ASSERT_TRUE(created.ok()) << created << vm_->Console();
    v1::ProcessSpec spec = Command({"sh", "-c", "cat; echo end of input; sleep 1000"});
    spec.set_stdin(true);
    first_ = new TestProcess(*vm_, kId, kId, spec);
    first_->AwaitStart();
    ASSERT_TRUE(first_->result().started) << first_->result().message << vm_->Console();
  }

  static void TearDownTestSuite() {
    delete first_;
    delete vm_;
    delete hello_;
    delete folder_;
  }

  static RunResult Run(const v1::ProcessSpec& spec) {
    TestProcess process(*vm_, kId, NewId(), spec);
    return process.Finish();
  }
  static RunResult Shell(const std::string& script) { return Run(Command({"sh", "-c", script})); }
  static std::string NewId() { return absl::StrCat("exec-", ++count_); }

  static absl::Status Signal(const std::string& id, int signal) {
    v1::SignalProcessRequest request;
    request.set_container_id(kId);
    request.set_process_id(id);
    request.set_signal(signal);
    return vm_->Call(link::VminitdMethod::kSignalProcess, request.SerializeAsString()).status();
  }

  static inline base::TemporaryDirectory* folder_ = nullptr;
  static inline TestVm* vm_ = nullptr;
  static inline v1::HelloResponse* hello_ = nullptr;
  static inline TestProcess* first_ = nullptr;
  static inline int count_ = 0;
};

// The first test: what others leave in the kernel's caches is not the idle guest's.
TEST_F(VminitdVmTest, TheIdleGuestIsSmall) {
  // Idle is a guest that has been left alone for a moment: until then the processors' own lists
  // hold pages that booting and starting set free.
  const RunResult result = Shell("sleep 3; grep -E 'MemTotal|MemAvailable' /proc/meminfo");
  long total = 0;
  long available = 0;
  ASSERT_EQ(
      std::sscanf(result.output.c_str(), "MemTotal: %ld kB MemAvailable: %ld", &total, &available),
      2)
      << result.output;
  RecordProperty("used_kib", static_cast<int>(total - available));
  EXPECT_LT(total - available, 45 * 1024) << Shell("cat /proc/meminfo").output;
}

TEST_F(VminitdVmTest, HelloTellsOfTheGuest) {
  EXPECT_THAT(hello_->kernel_release(), HasSubstr("6.12"));
  EXPECT_EQ(hello_->boot_id().size(), 36u);
  EXPECT_FALSE(hello_->version().empty());
  const RunResult result = Shell("date +%s");
  EXPECT_NEAR(std::atoll(result.output.c_str()), std::time(nullptr), 5);
}

TEST_F(VminitdVmTest, StreamsAreApartAndTheExitCodeArrives) {
  const RunResult result = Shell("echo out; echo err >&2; exit 42");
  EXPECT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_EQ(result.output, "out\n");
  EXPECT_EQ(result.error, "err\n");
  EXPECT_EQ(result.exit_code, 42);
  EXPECT_GT(result.pid, 1);
}

TEST_F(VminitdVmTest, ProgramsThatCannotBeExecuted) {
  RunResult result = Run(Command({"no-such-program"}));
  EXPECT_FALSE(result.started);
  EXPECT_EQ(result.exec_failure, 127);
  EXPECT_EQ(result.message, "exec: \"no-such-program\": executable file not found in $PATH");
  EXPECT_EQ(Run(Command({"/no/such"})).exec_failure, 127);
  EXPECT_EQ(Run(Command({"lost"})).exec_failure, 127);
  EXPECT_EQ(Run(Command({"plain"})).exec_failure, 126);
  EXPECT_EQ(Run(Command({"garbage"})).exec_failure, 126);
  EXPECT_EQ(Run(Command({"/etc"})).exec_failure, 126);
  EXPECT_EQ(Run(Command({"/etc/passwd/x"})).exec_failure, 126);
  EXPECT_EQ(Run(Command({"script", "runs"})).output, "script runs\n");
}

TEST_F(VminitdVmTest, SignalsBecome128PlusN) {
  TestProcess process(*vm_, kId, "victim", Command({"sleep", "1000"}));
  process.AwaitStart();
  EXPECT_TRUE(Signal("victim", 15).ok());
  EXPECT_EQ(process.Finish().exit_code, 128 + 15);
  EXPECT_EQ(Signal("victim", 15).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Signal(kId, 0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Shell("kill -9 $$").exit_code, 137);
}

TEST_F(VminitdVmTest, CancellingKills) {
  TestProcess process(*vm_, kId, "cancelled", Command({"sleep", "1000"}));
  process.AwaitStart();
  process.Cancel();
  EXPECT_FALSE(process.Finish().status.ok());
  // The agent hears of it a moment later; another signal only finds it until it is gone.
  while (Signal("cancelled", 18).ok()) {
  }
  EXPECT_THAT(Shell("ps").output, Not(HasSubstr("cancelled")));
}

TEST_F(VminitdVmTest, InputEnds) {
  v1::ProcessSpec spec = Command({"cat"});
  spec.set_stdin(true);
  TestProcess process(*vm_, kId, NewId(), spec);
  process.AwaitStart();
  process.Write("one ");
  process.Write("two");
  process.CloseInput();
  const RunResult result = process.Finish();
  EXPECT_TRUE(result.status.ok()) << result.status.message();
  EXPECT_EQ(result.output, "one two");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_EQ(Run(Command({"cat"})).output, "");
}

TEST_F(VminitdVmTest, InputThatNobodyReadsIsDropped) {
  v1::ProcessSpec spec = Command({"sh", "-c", "exec <&-; sleep 1; echo done"});
  spec.set_stdin(true);
  TestProcess process(*vm_, kId, NewId(), spec);
  process.AwaitStart();
  for (int i = 0; i < 8; ++i) process.Write(std::string(60000, 'x'));
  const RunResult result = process.Finish();
  EXPECT_EQ(result.output, "done\n");
  EXPECT_EQ(result.exit_code, 0);
}

TEST_F(VminitdVmTest, MuchOutputArrivesWhole) {
  const RunResult result = Shell("head -c 3000000 /dev/zero; head -c 200000 /dev/zero >&2");
  EXPECT_EQ(result.output.size(), 3000000u);
  EXPECT_EQ(result.error.size(), 200000u);
  EXPECT_EQ(result.exit_code, 0);
}

TEST_F(VminitdVmTest, AReaderThatStallsHoldsUpNobodyElse) {
  TestProcess stalled(*vm_, kId, "stalled", Command({"head", "-c", "2000000", "/dev/zero"}));
  EXPECT_EQ(Shell("head -c 1000000 /dev/zero").output.size(), 1000000u);
  EXPECT_TRUE(Signal("stalled", 18).ok());  // it waits for its reader
  EXPECT_EQ(stalled.Finish().output.size(), 2000000u);
}

TEST_F(VminitdVmTest, MuchInputComesBack) {
  v1::ProcessSpec spec = Command({"wc", "-c"});
  spec.set_stdin(true);
  TestProcess process(*vm_, kId, NewId(), spec);
  for (int i = 0; i < 40; ++i) process.Write(std::string(50000, 'x'));
  process.CloseInput();
  EXPECT_EQ(process.Finish().output, "2000000\n");
}

TEST_F(VminitdVmTest, TerminalHasASizeANameAndAnEnd) {
  v1::ProcessSpec spec = Command({"sh", "-c",
                                  "tty; echo $TERM; stty size; trap 'stty size; exit 3' WINCH; "
                                  "echo ready; while :; do sleep 0.1; done"});
  spec.set_terminal(true);
  spec.mutable_size()->set_rows(24);
  spec.mutable_size()->set_columns(80);
  TestProcess process(*vm_, kId, "terminal", spec);
  ASSERT_TRUE(process.AwaitOutput("ready"));
  EXPECT_THAT(process.result().output, HasSubstr("/dev/pts/"));
  EXPECT_THAT(process.result().output, HasSubstr("xterm\r\n24 80\r\n"));
  v1::ResizeTerminalRequest request;
  request.set_container_id(kId);
  request.set_process_id("terminal");
  request.mutable_size()->set_rows(50);
  request.mutable_size()->set_columns(132);
  EXPECT_TRUE(
      vm_->Call(link::VminitdMethod::kResizeTerminal, request.SerializeAsString()).status().ok());
  const RunResult result = process.Finish();
  EXPECT_THAT(result.output, HasSubstr("50 132"));
  EXPECT_EQ(result.exit_code, 3);
}

TEST_F(VminitdVmTest, TerminalTakesInputInterruptAndEndOfFile) {
  v1::ProcessSpec spec = Command({"sh", "-c", "echo ready; cat; echo over"});
  spec.set_terminal(true);
  spec.set_stdin(true);
  TestProcess process(*vm_, kId, NewId(), spec);
  ASSERT_TRUE(process.AwaitOutput("ready"));
  process.Write("typed\n");
  ASSERT_TRUE(process.AwaitOutput("typed\r\ntyped\r\n"));
  process.CloseInput();
  EXPECT_THAT(process.Finish().output, HasSubstr("over\r\n"));

  spec.set_arguments(2, "echo ready; sleep 1000");
  TestProcess interrupted(*vm_, kId, NewId(), spec);
  ASSERT_TRUE(interrupted.AwaitOutput("ready"));
  interrupted.Write("\x03");
  EXPECT_EQ(interrupted.Finish().exit_code, 130);
}

TEST_F(VminitdVmTest, UsersAndGroups) {
  v1::ProcessSpec spec = Command({"id"});
  EXPECT_EQ(Run(spec).output, "uid=0(root) gid=0(root) groups=10(wheel)\n");
  spec.set_user("app");
  EXPECT_EQ(Run(spec).output, "uid=1000(app) gid=1001(app) groups=10(wheel)\n");
  spec.set_user("4321:1234");
  EXPECT_THAT(Run(spec).output, HasSubstr("uid=4321 gid=1234"));
  spec.set_user("nobody");
  const RunResult result = Run(spec);
  EXPECT_EQ(result.status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(result.status.message(), HasSubstr("unable to find user nobody"));
}

TEST_F(VminitdVmTest, UserMayOpenItsStreamsAnew) {
  v1::ProcessSpec spec = Command({"sh", "-c", "echo a >/dev/stdout; echo b >/dev/stderr"});
  spec.set_user("app");
  const RunResult result = Run(spec);
  EXPECT_EQ(result.output, "a\n");
  EXPECT_EQ(result.error, "b\n");
}

TEST_F(VminitdVmTest, CapabilitiesAreThoseAskedFor) {
  v1::ProcessSpec spec = Command({"grep", "Cap", "/proc/self/status"});
  EXPECT_EQ(Run(spec).output,
            "CapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n"
            "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n");
  spec.set_user("app");
  EXPECT_EQ(Run(spec).output,
            "CapInh:\t0000000000000000\nCapPrm:\t0000000000000000\nCapEff:\t0000000000000000\n"
            "CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\n");
}

TEST_F(VminitdVmTest, LimitsEnvironmentFolderAndPrivileges) {
  v1::ProcessSpec spec = Command({"sh", "-c",
                                  "ulimit -n; ulimit -Hn; echo $PATH; echo $HOME; echo $X; pwd; "
                                  "grep NoNewPrivs /proc/self/status; umask"});
  v1::Rlimit* limit = spec.add_rlimits();
  limit->set_type("RLIMIT_NOFILE");
  limit->set_soft(123);
  limit->set_hard(456);
  spec.add_environment("X=y z");
  spec.set_user("app");
  spec.set_working_directory("/srv/made/here");
  spec.set_no_new_privileges(true);
  const RunResult result = Run(spec);
  EXPECT_EQ(result.output,
            "123\n456\n/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n/home/app\n"
            "y z\n/srv/made/here\nNoNewPrivs:\t1\n0022\n");
  spec.set_working_directory("/etc/passwd");
  EXPECT_EQ(Run(spec).exec_failure, 126);
}

TEST_F(VminitdVmTest, FurtherProcessesShareTheContainer) {
  const RunResult result = Shell(
      "hostname; for n in mnt pid uts ipc cgroup; do "
      "[ $(readlink /proc/1/ns/$n) = $(readlink /proc/self/ns/$n) ] || echo $n differs; done; "
      "echo same; cat /proc/self/cgroup; grep -c . /sys/fs/cgroup/cgroup.procs");
  EXPECT_THAT(result.output, HasSubstr("host-of-box\nsame\n0::/\n"));
  EXPECT_EQ(result.error, "");
}

TEST_F(VminitdVmTest, DevicesAndMountsAreDockers) {
  const RunResult result = Shell(
      "ls /dev; ls -l /dev/null | head -c 10; echo; echo x >/sys/kernel/x 2>/dev/null || echo ro; "
      "echo 1 2>/dev/null >/proc/sys/kernel/printk || echo ro; "
      "cat /proc/sys/net/ipv4/ping_group_range; cat /etc/hosts; cat /etc/hostname; "
      "mkdir /sys/fs/cgroup/x 2>/dev/null || echo ro");
  EXPECT_THAT(result.output,
              HasSubstr("core\nfd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\n"
                        "stdout\ntty\nurandom\nzero\ncrw-rw-rw-\nro\nro\n0\t2147483647\n"));
  EXPECT_THAT(result.output, HasSubstr("127.0.0.1\tlocalhost host-of-box\n"));
  EXPECT_THAT(result.output, HasSubstr("\nhost-of-box\n"));
  EXPECT_THAT(Shell("mount").output, HasSubstr("overlay on / type overlay (rw"));
  EXPECT_THAT(Shell("mount").output, Not(HasSubstr("erofs")));
}

TEST_F(VminitdVmTest, ABackgroundChildDoesNotHoldAnExecUp) {
  const auto start = std::chrono::steady_clock::now();
  const RunResult result = Shell("sleep 30 & echo gone");
  EXPECT_EQ(result.output, "gone\n");
  EXPECT_EQ(result.exit_code, 0);
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
}

TEST_F(VminitdVmTest, NoDescriptorsLeakIntoAProcess) {
  EXPECT_EQ(Shell("ls /proc/self/fd | wc -l").output, "4\n");  // 0 1 2 and the folder itself
  EXPECT_THAT(Run(Command({"grep", "-E", "SigBlk|SigIgn", "/proc/self/status"})).output,
              HasSubstr("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000"));
}

TEST_F(VminitdVmTest, MalformedRequestsAreRefused) {
  EXPECT_EQ(vm_->Create(kId).code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(vm_->Create("../x").code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(vm_->Create("").code(), absl::StatusCode::kInvalidArgument);
  TestProcess nowhere(*vm_, "no-such-container", "p", Command({"true"}));
  EXPECT_EQ(nowhere.Finish().status.code(), absl::StatusCode::kNotFound);
  TestProcess again(*vm_, kId, kId, Command({"true"}));
  EXPECT_EQ(again.Finish().status.code(), absl::StatusCode::kAlreadyExists);
  TestProcess empty(*vm_, kId, NewId(), v1::ProcessSpec());
  EXPECT_EQ(empty.Finish().status.code(), absl::StatusCode::kInvalidArgument);
  {
    v1::ProcessInput input;
    input.set_stdin("before the start");
    auto call = vm_->agent().Start(static_cast<uint16_t>(link::VminitdMethod::kRunProcess),
                                   input.SerializeAsString());
    EXPECT_TRUE(absl::IsInvalidArgument(call->Finish()));
  }
  for (const char* request : {"", "\xff\xff not a message"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(vm_->Call(link::VminitdMethod::kHello, request).status()));
  }
  EXPECT_TRUE(absl::IsUnimplemented(vm_->Call(link::VminitdMethod{77}, "").status()));
  EXPECT_EQ(Shell("echo alive").output, "alive\n");
}

// Ends the shared VM: the last test.
TEST_F(VminitdVmTest, ZTheFirstProcessEndsAndPowerOffEndsTheVm) {
  TestProcess other(*vm_, kId, "other", Command({"sleep", "1000"}));
  other.AwaitStart();
  first_->Write("hello\n");
  first_->CloseInput();
  ASSERT_TRUE(first_->AwaitOutput("hello\nend of input\n"));
  EXPECT_TRUE(Signal(kId, 9).ok());
  EXPECT_EQ(first_->Finish().exit_code, 137);
  // The kernel kills the others.
  EXPECT_EQ(other.Finish().exit_code, 137);
  TestProcess late(*vm_, kId, "late", Command({"true"}));
  EXPECT_EQ(late.Finish().status.code(), absl::StatusCode::kFailedPrecondition);
  (void)vm_->Call(link::VminitdMethod::kPowerOff, "");
  absl::StatusOr<std::optional<base::ProcessEnd>> end = vm_->qemu().WaitFor(milliseconds(10000));
  ASSERT_TRUE(end.ok());
  ASSERT_TRUE(end->has_value()) << vm_->Console();
  EXPECT_EQ((*end)->ShellStatus(), 0);
  // The writable layer was unmounted.
  absl::StatusOr<base::CommandResult> check = base::RunCommand(
      {.program = "dumpe2fs", .arguments = {"-h", folder_->path() + "/writable.ext4"}},
      milliseconds(10000));
  ASSERT_TRUE(check.ok());
  EXPECT_THAT(check->standard_output, testing::ContainsRegex("Filesystem state: +clean\n"));
}

TEST(VminitdOwnVmTest, AReadOnlyRootIsReadOnlyAndAClosedPortEndsTheVm) {
  absl::StatusOr<base::TemporaryDirectory> folder = base::TemporaryDirectory::Create();
  ASSERT_TRUE(folder.ok());
  ASSERT_TRUE(MakeTestDisks(folder->path()).ok());
  std::unique_ptr<TestVm> vm = BootVm(folder->path());
  ASSERT_NE(vm, nullptr);
  ASSERT_TRUE(vm->Hello().ok());
  ASSERT_TRUE(vm->Create(kId, true).ok());
  v1::ProcessSpec spec = Command({"sh", "-c",
                                  "touch /x 2>/dev/null || echo ro; touch /dev/shm/x && echo rw; "
                                  "tty; ls -l /dev/console; sleep 60 &"});
  spec.set_terminal(true);
  // The call holds the channel: it ends here.
  const RunResult result = TestProcess(*vm, kId, kId, spec).Finish();
  EXPECT_THAT(result.output, HasSubstr("ro\r\nrw\r\n/dev/pts/0\r\n"));
  EXPECT_THAT(result.output, HasSubstr("/dev/console"));
  EXPECT_EQ(result.exit_code, 0);
  vm->Disconnect();
  absl::StatusOr<std::optional<base::ProcessEnd>> end = vm->qemu().WaitFor(milliseconds(10000));
  ASSERT_TRUE(end.ok());
  EXPECT_TRUE(end->has_value()) << vm->Console();
}

}  // namespace
}  // namespace container::vminitd
