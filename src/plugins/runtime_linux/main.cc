// container-runtime-linux: runs one container in a VM of its own.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "base/version.h"
#include "plugins/runtime_linux/container.h"
#include "plugins/runtime_linux/probe.h"
#include "plugins/runtime_linux/service.h"

namespace container::runtime_linux {
namespace {

constexpr char kProgram[] = "container-runtime-linux";
constexpr std::chrono::milliseconds kStopTimeoutOnTerm(5000);
constexpr std::chrono::milliseconds kLastCallsGrace(2000);
// For the answers to leave; a client that is connected and idle holds up the shutdown for so long.
constexpr std::chrono::milliseconds kLastAnswersGrace(100);

struct StartOptions {
  std::string bundle;
  std::string socket;
  int listen_fd = -1;
  std::string log_file;
  bool debug = false;
};

void IsolateFromTerminal() {
  // Fails for a group's leader, which a helper launched by the apiserver never is.
  ::setsid();
  ::signal(SIGHUP, SIG_IGN);
  ::signal(SIGPIPE, SIG_IGN);
  // Taken by sigwait, in a thread that may call anything.
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

void StopOnSignal(Container& container) {
  std::thread([&container] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    for (int signal = 0; ::sigwait(&set, &signal) == 0;) {
      container.RequestStop(SIGTERM, kStopTimeoutOnTerm);
    }
  }).detach();
}

absl::StatusOr<base::Fd> Listener(const StartOptions& options) {
  if (options.listen_fd < 0) return base::ListenUnix(options.socket);
  if (::fcntl(options.listen_fd, F_SETFD, FD_CLOEXEC) != 0) {
    return base::ErrnoStatus(absl::StrCat("descriptor ", options.listen_fd));
  }
  return base::Fd(options.listen_fd);
}

absl::Status Start(const StartOptions& options, const TscMeter& tsc) {
  IsolateFromTerminal();
  RETURN_IF_ERROR(base::InitializeLog(kProgram, options.log_file));
  if (options.debug) spdlog::set_level(spdlog::level::debug);
  spdlog::debug("starts bundle={}", options.bundle);
  ASSIGN_OR_RETURN(std::unique_ptr<Container> container,
                   Container::Open({.bundle = {options.bundle},
                                    .socket = options.socket,
                                    .tsc = tsc,
                                    .debug = options.debug}));
  ASSIGN_OR_RETURN(base::Fd listener, Listener(options));
  RETURN_IF_ERROR(container->Boot());
  StopOnSignal(*container);
  RuntimeService service(*container);
  ASSIGN_OR_RETURN(std::unique_ptr<base::RpcServer> server,
                   base::RpcServer::Start(std::move(listener), {&service}));
  container->Run();
  service.WaitUntilIdle(kLastCallsGrace);
  server->Shutdown(kLastAnswersGrace);
  spdlog::default_logger()->flush();
  // Everything is written and told; the threads that are left have nothing to tidy up.
  std::_Exit(0);
}

int Run(int argc, char** argv, const TscMeter& tsc) {
  CLI::App app("Runs one Linux container in a lightweight VM of its own.", kProgram);
  app.set_version_flag("--version", absl::StrCat(kProgram, " version ", std::string(base::kVersion),
                                                 " (", std::string(base::kCommit), ")"));
  app.require_subcommand(1);

  StartOptions start;
  CLI::App* start_command = app.add_subcommand("start", "Boot a bundle's VM and serve its calls");
  start_command->add_option("--bundle", start.bundle, "Folder of the container")->required();
  start_command->add_option("--socket", start.socket, "Where to serve proto/runtime.proto")
      ->required();
  start_command->add_option("--listen-fd", start.listen_fd,
                            "Descriptor that listens at the socket already");
  start_command->add_option("--log", start.log_file, "Append the log to this file, not to stderr");
  start_command->add_flag("--debug", start.debug,
                          "Log more, and the kernel's messages to the console");
  start_command->footer("Example: container-runtime-linux start --bundle DIR --socket DIR/r.sock");

  ProbeOptions probe;
  probe.qemu_program = "qemu-system-x86_64";
  std::string accelerator;
  int64_t timeout_ms = probe.timeout.count();
  CLI::App* probe_command =
      app.add_subcommand("probe", "Say whether a VM boots under an accelerator, by booting one");
  probe_command->add_option("--kernel", probe.kernel_path, "Uncompressed kernel")->required();
  probe_command->add_option("--initramfs", probe.initramfs_path, "initramfs with vminitd")
      ->required();
  probe_command->add_option("--qemu", probe.qemu_program, "QEMU")->capture_default_str();
  probe_command->add_option("--accelerator", accelerator, "kvm or tcg")
      ->required()
      ->check(CLI::IsMember({"kvm", "tcg"}));
  probe_command->add_option("--timeout-ms", timeout_ms, "How long it may take")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  probe_command->footer(
      "Prints 'ok KERNEL-RELEASE', or why not with exit status 1.\n"
      "Example: container-runtime-linux probe --kernel vmlinux --initramfs initramfs.cpio "
      "--accelerator kvm");

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  if (*start_command) {
    absl::Status status = Start(start, tsc);
    std::fprintf(stderr, "Error: %s: %s\n", kProgram, std::string(status.message()).c_str());
    return 1;
  }
  probe.accelerator = *ParseAccelerator(accelerator);
  probe.timeout = std::chrono::milliseconds(timeout_ms);
  probe.tsc = tsc;
  ::signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<std::string> release = Probe(probe);
  if (!release.ok()) {
    std::printf("%s\n", std::string(release.status().message()).c_str());
    return 1;
  }
  std::printf("ok %s\n", release->c_str());
  return 0;
}

}  // namespace
}  // namespace container::runtime_linux

int main(int argc, char** argv) {
  const container::runtime_linux::TscMeter tsc;
  // One helper per container: small heaps matter more than contention.
  ::mallopt(M_ARENA_MAX, 2);
  return container::runtime_linux::Run(argc, argv, tsc);
}
