#include "vminitd/vm_driver.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::vminitd {
namespace {

constexpr int kAgentFd = 3;
constexpr std::chrono::seconds kCallTimeout{30};

std::string BuildFolder() {
  const char* folder = std::getenv("CONTAINER_BUILD_DIR");
  return folder == nullptr ? "." : folder;
}

// The emulated processor has the host's time stamp counter, and the kernel can't measure it well.
std::string ClockArguments() {
  const auto start = std::chrono::steady_clock::now();
  const uint64_t start_ticks = __builtin_ia32_rdtsc();
  auto elapsed = std::chrono::steady_clock::duration::zero();
  while (elapsed < std::chrono::milliseconds(20)) {
    elapsed = std::chrono::steady_clock::now() - start;
  }
  const uint64_t ticks = __builtin_ia32_rdtsc() - start_ticks;
  const double milliseconds = std::chrono::duration<double, std::milli>(elapsed).count();
  const auto khz = static_cast<uint64_t>(static_cast<double>(ticks) / milliseconds);
  return absl::StrCat("tsc_early_khz=", khz, " lpj=", khz * 10,
                      " tsc=reliable lapic_timer_khz=1000000");
}

absl::Status RunTool(const std::string& program, std::vector<std::string> arguments) {
  ASSIGN_OR_RETURN(base::CommandResult result,
                   base::RunCommand({.program = program, .arguments = std::move(arguments)},
                                    std::chrono::seconds(60)));
  if (result.end.ShellStatus() != 0) {
    return absl::InternalError(absl::StrCat(program, ": ", result.standard_error));
  }
  return absl::OkStatus();
}

absl::Status WriteFile(const std::string& path, const std::string& content, mode_t mode) {
  RETURN_IF_ERROR(base::WriteFileAtomically(path, content, mode));
  // Whatever the umask.
  if (::chmod(path.c_str(), mode) != 0) return base::ErrnoStatus(path);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> TestKernel() {
  const char* chosen = std::getenv("CONTAINER_TEST_KERNEL");
  std::string path = chosen != nullptr ? chosen : BuildFolder() + "/share/container/vmlinux";
  if (::access(path.c_str(), R_OK) != 0) {
    return absl::NotFoundError(
        absl::StrCat("no kernel at ", path, ": run 'make kernel' or set CONTAINER_TEST_KERNEL"));
  }
  return path;
}

absl::Status MakeTestDisks(const std::string& folder) {
  const std::string root = folder + "/root";
  for (const char* name : {"/bin", "/etc", "/tmp", "/home/app", "/noexec"}) {
    RETURN_IF_ERROR(base::MakeDirectories(root + name, 0755));
  }
  ::chmod((root + "/tmp").c_str(), 01777);
  RETURN_IF_ERROR(RunTool("cp", {"/bin/busybox", root + "/bin/busybox"}));
  for (const char* name :
       {"sh",       "cat",  "echo",     "id",   "ls",     "true", "false", "sleep", "env",
        "pwd",      "tty",  "stty",     "kill", "grep",   "ps",   "touch", "mount", "dd",
        "hostname", "stat", "readlink", "wc",   "chroot", "date", "head",  "ping"}) {
    if (::symlink("busybox", (root + "/bin/" + name).c_str()) != 0) {
      return base::ErrnoStatus("symlink");
    }
  }
  RETURN_IF_ERROR(WriteFile(root + "/etc/passwd",
                            "root:x:0:0:root:/root:/bin/sh\n"
                            "app:x:1000:1001:An app:/home/app:/bin/sh\n",
                            0644));
  RETURN_IF_ERROR(
      WriteFile(root + "/etc/group", "root:x:0:\nwheel:x:10:root,app\napp:x:1001:\n", 0644));
  RETURN_IF_ERROR(WriteFile(root + "/bin/plain", "not executable\n", 0644));
  RETURN_IF_ERROR(WriteFile(root + "/bin/garbage", "neither ELF nor a script\n", 0755));
  RETURN_IF_ERROR(WriteFile(root + "/bin/script", "#!/bin/sh\necho \"script $1\"\n", 0755));
  RETURN_IF_ERROR(WriteFile(root + "/bin/lost", "#!/no/interpreter\n", 0755));
  RETURN_IF_ERROR(RunTool("mkfs.erofs", {"--all-root", folder + "/root.erofs", root}));
  return RunTool("mke2fs", {"-q", "-t", "ext4", "-O", "^has_journal", "-E", "lazy_itable_init=1",
                            folder + "/writable.ext4", "64M"});
}

absl::StatusOr<std::unique_ptr<TestVm>> TestVm::Boot(const Options& options) {
  ASSIGN_OR_RETURN(base::FdPair agent, base::MakeSocketPair());
  RETURN_IF_ERROR(base::SetNonBlocking(agent.second.get(), true));
  const std::string console = options.folder + "/console.log";
  base::SubprocessSpec spec;
  spec.program = "qemu-system-x86_64";
  spec.arguments = {
      "-M",
      "microvm,acpi=off,isa-serial=on,x-option-roms=off",
      "-accel",
      "tcg,thread=multi,tb-size=128",
      "-cpu",
      "max,svm=off,erms=off",
      "-global",
      "virtio-mmio.force-legacy=false",
      "-smp",
      absl::StrCat(options.cpus),
      "-m",
      absl::StrCat(options.memory_mib, "M"),
      "-nodefaults",
      "-no-user-config",
      "-display",
      "none",
      "-no-reboot",
      "-kernel",
      options.kernel,
      "-initrd",
      options.initramfs,
      "-append",
      absl::StrCat("console=ttyS0 quiet reboot=t panic=-1 ", ClockArguments(), " ",
                   options.kernel_arguments),
      "-serial",
      absl::StrCat("file:", console),
      "-blockdev",
      absl::StrCat("driver=file,node-name=f0,read-only=on,filename=", options.folder,
                   "/root.erofs"),
      "-blockdev",
      "driver=raw,node-name=d0,file=f0,read-only=on",
      "-device",
      "virtio-blk-device,drive=d0,serial=root",
      "-blockdev",
      absl::StrCat("driver=file,node-name=f1,filename=", options.folder, "/writable.ext4"),
      "-blockdev",
      "driver=raw,node-name=d1,file=f1",
      "-device",
      "virtio-blk-device,drive=d1,serial=writable",
      "-device",
      "virtio-rng-device",
      "-device",
      "virtio-serial-device",
      "-chardev",
      absl::StrCat("socket,id=agent,fd=", kAgentFd),
      "-device",
      "virtserialport,chardev=agent,name=agent"};
  spec.fds = {{agent.second.get(), kAgentFd}};
  spec.dies_with_parent = true;
  ASSIGN_OR_RETURN(base::Subprocess qemu, base::Subprocess::Spawn(spec));
  agent.second.Reset();
  std::unique_ptr<TestVm> vm(new TestVm(std::move(qemu), console));
  ASSIGN_OR_RETURN(vm->agent_, link::Client::Create(std::move(agent.first)));
  return vm;
}

TestVm::~TestVm() { (void)qemu_.TerminateOrKill(std::chrono::milliseconds(0)); }

void TestVm::Disconnect() { agent_.reset(); }

absl::StatusOr<std::string> TestVm::Call(link::VminitdMethod method, const std::string& request) {
  return agent_->Start(static_cast<uint16_t>(method), request)->Await(kCallTimeout);
}

std::string TestVm::Console() const {
  absl::StatusOr<std::string> text = base::ReadFile(console_);
  return text.ok() ? *text : std::string(text.status().message());
}

absl::StatusOr<v1::HelloResponse> TestVm::Hello() {
  v1::HelloRequest request;
  request.set_wall_clock_ns(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                std::chrono::system_clock::now().time_since_epoch())
                                .count());
  char entropy[32];
  if (::getrandom(entropy, sizeof entropy, 0) != sizeof entropy) {
    return base::ErrnoStatus("getrandom");
  }
  request.set_entropy(entropy, sizeof entropy);
  v1::HelloResponse response;
  absl::StatusOr<std::string> answer =
      Call(link::VminitdMethod::kHello, request.SerializeAsString());
  if (!answer.ok() || !response.ParseFromString(*answer)) {
    return base::Annotate(answer.status(), Console());
  }
  return response;
}

absl::Status TestVm::Create(const std::string& id, bool read_only) {
  v1::CreateContainerRequest request;
  request.set_container_id(id);
  request.set_hostname("host-of-" + id);
  request.mutable_root()->mutable_lower()->set_serial("root");
  request.mutable_root()->mutable_lower()->set_filesystem("erofs");
  request.mutable_root()->mutable_upper()->set_serial("writable");
  request.mutable_root()->mutable_upper()->set_filesystem("ext4");
  request.mutable_root()->set_read_only(read_only);
  return Call(link::VminitdMethod::kCreateContainer, request.SerializeAsString()).status();
}

TestProcess::TestProcess(TestVm& vm, const std::string& container, const std::string& id,
                         const v1::ProcessSpec& spec) {
  v1::ProcessInput input;
  input.mutable_start()->set_container_id(container);
  input.mutable_start()->set_process_id(id);
  *input.mutable_start()->mutable_spec() = spec;
  call_ = vm.agent().Start(static_cast<uint16_t>(link::VminitdMethod::kRunProcess),
                           input.SerializeAsString());
}

bool TestProcess::ReadOne() {
  v1::ProcessOutput output;
  std::string message;
  if (ended_ || !call_->Read(&message) || !output.ParseFromString(message)) {
    ended_ = true;
    return false;
  }
  switch (output.output_case()) {
    case v1::ProcessOutput::kStarted:
      result_.started = true;
      result_.pid = output.started().pid();
      break;
    case v1::ProcessOutput::kExecFailed:
      result_.exec_failure = output.exec_failed().exit_code();
      result_.message = output.exec_failed().message();
      break;
    case v1::ProcessOutput::kStdout:
      result_.output += output.stdout();
      break;
    case v1::ProcessOutput::kStderr:
      result_.error += output.stderr();
      break;
    case v1::ProcessOutput::kExited:
      result_.exit_code = output.exited().exit_code();
      break;
    case v1::ProcessOutput::OUTPUT_NOT_SET:
      break;
  }
  return true;
}

void TestProcess::AwaitStart() {
  while (!result_.started && result_.exec_failure == 0 && ReadOne()) {
  }
}

bool TestProcess::AwaitOutput(const std::string& text) {
  while (result_.output.find(text) == std::string::npos) {
    if (!ReadOne()) return false;
  }
  return true;
}

void TestProcess::Write(const std::string& data) {
  v1::ProcessInput input;
  input.set_stdin(data);
  call_->Write(input.SerializeAsString());
}

void TestProcess::CloseInput() {
  v1::ProcessInput input;
  input.set_close_stdin(true);
  call_->Write(input.SerializeAsString());
}

RunResult TestProcess::Finish() {
  while (ReadOne()) {
  }
  result_.status = call_->Finish();
  return result_;
}

v1::ProcessSpec Command(const std::vector<std::string>& arguments) {
  v1::ProcessSpec spec;
  for (const std::string& argument : arguments) spec.add_arguments(argument);
  for (const char* name :
       {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD",
        "NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}) {
    spec.add_capabilities(absl::StrCat("CAP_", name));
  }
  return spec;
}

}  // namespace container::vminitd
