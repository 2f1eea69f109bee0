// container-core-images: the content store, registries and root file systems, for one app root.

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/log.h"
#include "base/paths.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "base/version.h"
#include "plugins/core_images/service.h"
#include "plugins/core_images/store/content_store.h"

namespace container::images {
namespace {

constexpr char kProgram[] = "container-core-images";
constexpr auto kShutdownGrace = std::chrono::milliseconds(500);

struct Flags {
  std::string app_root;
  std::string socket;
  std::string log_file;
  int listen_fd = -1;
  bool debug = false;
};

absl::StatusOr<base::Fd> Listener(const Flags& flags, const base::Paths& paths) {
  if (flags.listen_fd < 0) {
    std::string socket = flags.socket;
    if (socket.empty()) {
      RETURN_IF_ERROR(base::MakePrivateDirectory(paths.runtime_dir()));
      socket = paths.ImagesSocket();
    }
    return base::ListenUnix(socket);
  }
  struct stat info;
  if (::fstat(flags.listen_fd, &info) != 0 || !S_ISSOCK(info.st_mode)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen-fd ", flags.listen_fd, " is no open socket"));
  }
  if (::fcntl(flags.listen_fd, F_SETFD, FD_CLOEXEC) != 0) return base::ErrnoStatus("fcntl");
  return base::Fd(flags.listen_fd);
}

absl::Status Serve(const Flags& flags) {
  ASSIGN_OR_RETURN(base::Paths paths, base::Paths::FromEnvironment());
  if (!flags.app_root.empty()) {
    ASSIGN_OR_RETURN(paths, paths.WithRoots(flags.app_root, "", ""));
  }
  // Before any thread is made, so that all inherit it: signals are waited for here.
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  ::sigprocmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(0077);

  RETURN_IF_ERROR(base::InitializeLog(kProgram, flags.log_file));
  if (flags.debug) spdlog::set_level(spdlog::level::debug);
  ASSIGN_OR_RETURN(base::Fd listener, Listener(flags, paths));
  ASSIGN_OR_RETURN(const std::unique_ptr<store::ContentStore> store,
                   store::ContentStore::Open(paths));
  for (const std::string& warning : store->TakeWarnings()) spdlog::error("{}", warning);
  const std::unique_ptr<grpc::Service> service = NewImagesService(*store, paths.Containers());
  ASSIGN_OR_RETURN(const std::unique_ptr<base::RpcServer> server,
                   base::RpcServer::Start(std::move(listener), {service.get()}));
  spdlog::info("started version={} app_root=\"{}\"", base::kVersion.data(), paths.app_root());

  int signal = 0;
  while (::sigwait(&signals, &signal) != 0) {
  }
  spdlog::info("ending signal={}", signal);
  server->Shutdown(kShutdownGrace);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Keeps container images: fetches them from registries, stores them, and readies\n"
      "their root file systems. Started by container-apiserver.",
      kProgram);
  app.set_version_flag("--version",
                       absl::StrCat(kProgram, " ", base::kVersion, " (", base::kCommit, ")"));
  app.require_subcommand(1);
  Flags flags;
  CLI::App* start = app.add_subcommand("start", "Serves until it gets SIGTERM");
  start->add_option("--app-root", flags.app_root, "Folder that holds the content store")
      ->type_name("DIR");
  start->add_option("--socket", flags.socket, "Unix socket to listen at")->type_name("PATH");
  start
      ->add_option("--listen-fd", flags.listen_fd,
                   "Descriptor of that socket, where it is listening already")
      ->type_name("FD");
  start->add_option("--log", flags.log_file, "File to append the log to (default: standard error)")
      ->type_name("FILE");
  start->add_flag("--debug", flags.debug, "Log more");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : 2;
  }
  const absl::Status status = Serve(flags);
  if (status.ok()) return 0;
  spdlog::error("failed code={} error=\"{}\"", absl::StatusCodeToString(status.code()),
                std::string(status.message()));
  std::fprintf(stderr, "Error: %s: %s\n", kProgram, std::string(status.message()).c_str());
  return 1;
}

}  // namespace
}  // namespace container::images

int main(int argc, char** argv) { return container::images::Main(argc, argv); }
