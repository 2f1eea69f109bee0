#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kReadyFd = 3;

struct StartFlags {
  std::string app_root;
  std::string install_root;
  std::string log_root;
  bool enable_kernel_install = false;
  bool disable_kernel_install = false;
  bool debug = false;
  std::optional<int> timeout_seconds;
};

/// Who asks a running apiserver; nothing if none answers.
absl::StatusOr<std::optional<SystemStatus>> AskRunning(const base::Paths& paths, bool debug) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(paths, debug);
  if (absl::IsUnavailable(client.status())) return std::nullopt;
  RETURN_IF_ERROR(client.status());
  ASSIGN_OR_RETURN(SystemStatus status, (*client)->GetStatus());
  return status;
}

/// What the apiserver writes to its ready pipe: OK for "ready"; the message of "error: CODE
/// message"; the end without a word means that it died.
absl::Status ReadReadiness(int fd, const std::string& log, Clock::time_point deadline) {
  std::string line;
  std::array<char, 4096> buffer;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    ASSIGN_OR_RETURN(bool readable,
                     base::PollFd(fd, POLLIN, std::max(left, std::chrono::milliseconds(0))));
    if (!readable) {
      return absl::DeadlineExceededError("container-apiserver did not get ready in time");
    }
    ASSIGN_OR_RETURN(size_t count, base::ReadSome(fd, buffer));
    line.append(buffer.data(), count);
    if (count == 0 || absl::StrContains(line, '\n')) break;
  }
  absl::string_view text = line;
  text = text.substr(0, text.find('\n'));
  if (text == "ready") return absl::OkStatus();
  if (absl::ConsumePrefix(&text, "error: ")) {
    // The code is for programs.
    const size_t space = text.find(' ');
    return absl::InternalError(space == absl::string_view::npos ? text : text.substr(space + 1));
  }
  return WithHint(absl::UnavailableError("container-apiserver ended while starting"),
                  absl::StrCat("See ", log));
}

absl::Status Launch(const base::Paths& paths, const StartFlags& flags) {
  RETURN_IF_ERROR(base::MakeDirectories(paths.log_root()), "log root");
  const std::string log = paths.LogFile("apiserver");
  ASSIGN_OR_RETURN(base::Fd log_file, base::Open(log, O_WRONLY | O_CREAT | O_APPEND, 0600));
  ASSIGN_OR_RETURN(base::FdPair ready, base::MakePipe());
  base::SubprocessSpec spec;
  spec.program = paths.ApiserverProgram();
  spec.arguments = {"start",          "--app-root",         paths.app_root(),
                    "--install-root", paths.install_root(), "--log-root",
                    paths.log_root(), "--ready-fd",         absl::StrCat(kReadyFd)};
  if (flags.disable_kernel_install) spec.arguments.push_back("--disable-kernel-install");
  if (flags.debug) spec.arguments.push_back("--debug");
  spec.fds = {{log_file.get(), STDOUT_FILENO},
              {log_file.get(), STDERR_FILENO},
              {ready.second.get(), kReadyFd}};
  spec.new_session = true;
  spec.working_directory = "/";
  const auto deadline = Clock::now() + std::chrono::seconds(flags.timeout_seconds.value_or(30));
  ASSIGN_OR_RETURN(base::Subprocess apiserver, base::Subprocess::Spawn(spec));
  ready.second.Reset();
  absl::Status status = ReadReadiness(ready.first.get(), log, deadline);
  if (status.ok()) {
    apiserver.Detach();
    return status;
  }
  // Half-started it would only be in the way of the next try.
  apiserver.TerminateOrKill(std::chrono::seconds(5)).IgnoreError();
  if (absl::IsDeadlineExceeded(status)) {
    status = WithHint(status, absl::StrCat("Give it more time with --timeout, or see ", log));
  }
  return status;
}

/// What the user should know of a system that runs.
void Report(const base::Paths& paths, const SystemStatus& status, absl::string_view sentence) {
  PrintLine(absl::StrCat(sentence, " (pid ", status.pid, ")"));
  for (const std::string& warning : status.warnings) PrintWarning(warning);
  const absl::StatusOr<base::Paths> usual = base::Paths::FromEnvironment();
  if (usual.ok() && usual->app_root() != paths.app_root()) {
    PrintLine("To use it:");
    PrintLine(absl::StrCat("export CONTAINER_APP_ROOT='", paths.app_root(), "'"));
  }
}

absl::StatusOr<base::Paths> ResolvePaths(const StartFlags& flags) {
  ASSIGN_OR_RETURN(base::Paths usual, base::Paths::FromEnvironment());
  return usual.WithRoots(flags.app_root, flags.install_root, flags.log_root);
}

}  // namespace

int SystemStart(Invocation& call) {
  StartFlags flags;
  OptionParser parser(call, "Starts the services that all other commands need.");
  parser.Value("--app-root", "DIR", &flags.app_root, "Where images and containers are kept");
  parser.Value("--install-root", "DIR", &flags.install_root, "Where the programs are");
  parser.Value("--log-root", "DIR", &flags.log_root, "Where the services' logs are");
  parser.Flag("--enable-kernel-install", &flags.enable_kernel_install,
              "Install the recommended kernel if none is installed (the default)");
  parser.Flag("--disable-kernel-install", &flags.disable_kernel_install, "Don't");
  parser.Value("--timeout", "SECONDS", &flags.timeout_seconds, 1, "How long to wait (30)");
  parser.Example("container system start", "Once after login");
  parser.Example("container system start --app-root /srv/containers", "A second instance");
  if (std::optional<int> done = parser.Parse()) return *done;
  if (flags.enable_kernel_install && flags.disable_kernel_install) {
    return parser.WrongUsage(
        "--enable-kernel-install and --disable-kernel-install exclude each other");
  }
  flags.debug = call.debug;

  const absl::StatusOr<base::Paths> paths = ResolvePaths(flags);
  if (!paths.ok()) return Fail(paths.status());
  if (absl::Status made = base::MakePrivateDirectory(paths->runtime_dir()); !made.ok()) {
    return Fail("runtime directory", made);
  }
  // Of two that start at once, the second waits here and then finds the services running.
  const absl::StatusOr<base::Fd> lock = base::LockFile(paths->StartLock(), /*wait=*/true);
  if (!lock.ok()) return Fail(lock.status());
  absl::StatusOr<std::optional<SystemStatus>> running = AskRunning(*paths, call.debug);
  if (!running.ok()) return Fail(running.status());
  if (running->has_value()) {
    Report(*paths, **running, "container system is already running");
    return kSuccess;
  }
  if (const absl::Status launched = Launch(*paths, flags); !launched.ok()) {
    return Fail("start container-apiserver", launched);
  }
  running = AskRunning(*paths, call.debug);
  if (!running.ok()) return Fail(running.status());
  if (!running->has_value()) return Fail(absl::UnavailableError("container-apiserver has ended"));
  Report(*paths, **running, "container system is running");
  return kSuccess;
}

}  // namespace container::cli
