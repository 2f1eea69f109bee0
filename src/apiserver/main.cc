// container-apiserver: the daemon that owns all metadata and launches every helper.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "apiserver/server.h"
#include "base/fd.h"
#include "base/status.h"
#include "base/version.h"

namespace container::apiserver {
namespace {

constexpr char kProgram[] = "container-apiserver";

struct StartOptions {
  std::string app_root;
  std::string install_root;
  std::string log_root;
  int listen_fd = -1;
  int ready_fd = -1;
  bool disable_kernel_install = false;
  bool debug = false;
};

/// Whoever started us waits for this line, or for the end of the pipe.
void Tell(int ready_fd, const std::string& line) {
  if (ready_fd < 0) return;
  base::WriteAll(ready_fd, line + "\n").IgnoreError();
  ::close(ready_fd);
}

absl::Status Start(const StartOptions& options) {
  ASSIGN_OR_RETURN(base::Paths paths, base::Paths::FromEnvironment());
  ASSIGN_OR_RETURN(paths,
                   paths.WithRoots(options.app_root, options.install_root, options.log_root));
  const ServerOptions server{paths, options.listen_fd, !options.disable_kernel_install};
  if (options.debug) ::setenv("CONTAINER_LOG_LEVEL", "debug", 1);
  // Taken by sigwait; threads inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  return Serve(server, [&options] { Tell(options.ready_fd, "ready"); });
}

int Run(int argc, char** argv) {
  CLI::App app("Owns the containers of one user: their metadata, their helpers, their state.",
               kProgram);
  app.set_version_flag("--version", absl::StrCat(kProgram, " version ", std::string(base::kVersion),
                                                 " (", std::string(base::kCommit), ")"));
  app.require_subcommand(1);
  StartOptions options;
  CLI::App* start = app.add_subcommand("start", "Serve until stopped");
  start->add_option("--app-root", options.app_root, "Folder of all data");
  start->add_option("--install-root", options.install_root, "Folder above bin/ and libexec/");
  start->add_option("--log-root", options.log_root, "Folder of the logs");
  start->add_option("--listen-fd", options.listen_fd,
                    "Descriptor that listens at the socket already");
  start->add_option("--ready-fd", options.ready_fd,
                    "Descriptor that gets 'ready', or 'error: CODE MESSAGE'");
  start->add_flag("--disable-kernel-install", options.disable_kernel_install,
                  "Don't install the kernel that came with the installation");
  start->add_flag("--debug", options.debug, "Log more");
  start->footer(
      "Stays in the foreground; 'container system start' runs it in the background.\n"
      "Example: container-apiserver start --app-root /tmp/mine");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = Start(options);
  const std::string message(status.message());
  Tell(options.ready_fd,
       absl::StrCat("error: ", absl::StatusCodeToString(status.code()), " ", message));
  std::fprintf(stderr, "Error: %s\n", message.c_str());
  // Threads of what was begun may still run.
  std::_Exit(1);
}

}  // namespace
}  // namespace container::apiserver

int main(int argc, char** argv) { return container::apiserver::Run(argc, argv); }
