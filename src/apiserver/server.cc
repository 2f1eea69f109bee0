#include "apiserver/server.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "apiserver/concurrency/event_loop.h"
#include "apiserver/concurrency/task_pool.h"
#include "apiserver/containers/manager.h"
#include "apiserver/containers/service.h"
#include "apiserver/images/images_helper.h"
#include "apiserver/images/proxy.h"
#include "apiserver/system/service.h"
#include "apiserver/system/virtual_machines.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rpc.h"
#include "base/status.h"
#include "base/unix_socket.h"
#include "base/version.h"
#include "model/system_config.h"

namespace container::apiserver {
namespace {

/// Each start that is under way holds one.
constexpr size_t kMostThreads = 128;
constexpr std::chrono::milliseconds kImagesPatience(5000);

/// The app root belongs to one apiserver: the lock file says to which.
absl::StatusOr<base::Fd> TakeAppRoot(const base::Paths& paths) {
  auto lock = base::LockFile(paths.ApiserverLock(), false);
  if (absl::IsUnavailable(lock.status())) {
    std::string pid = base::ReadFile(paths.ApiserverLock(), 4096).value_or("");
    absl::StripAsciiWhitespace(&pid);
    return absl::UnavailableError(absl::StrCat(
        "another container-apiserver (pid ", pid.empty() ? "not known" : pid, ") has the app root ",
        paths.app_root(), ": stop it with 'container system stop', or use another --app-root"));
  }
  RETURN_IF_ERROR(lock.status());
  if (::ftruncate(lock->get(), 0) != 0) return base::ErrnoStatus(paths.ApiserverLock());
  RETURN_IF_ERROR(base::PwriteAll(lock->get(), absl::StrCat(::getpid(), "\n"), 0),
                  paths.ApiserverLock());
  return lock;
}

absl::Status MakeFolders(const base::Paths& paths) {
  RETURN_IF_ERROR(base::MakeDirectories(paths.app_root()));
  RETURN_IF_ERROR(base::MakeDirectories(paths.log_root()));
  RETURN_IF_ERROR(base::MakePrivateDirectory(paths.runtime_dir()));
  RETURN_IF_ERROR(base::MakePrivateDirectory(paths.RuntimeSockets()));
  return base::MakePrivateDirectory(paths.ClientSockets());
}

absl::StatusOr<base::Fd> Listener(const ServerOptions& options) {
  if (options.listen_fd < 0) return base::ListenUnix(options.paths.ApiserverSocket());
  if (::fcntl(options.listen_fd, F_SETFD, FD_CLOEXEC) != 0) {
    return base::ErrnoStatus(absl::StrCat("descriptor ", options.listen_fd));
  }
  return base::Fd(options.listen_fd);
}

CreateDefaults DefaultsOf(const model::SystemConfig& config) {
  const unsigned host_cpus = std::thread::hardware_concurrency();
  return {config.container_cpus, config.container_memory_bytes,
          host_cpus == 0 ? 1 : static_cast<int>(host_cpus)};
}

}  // namespace

absl::Status Serve(const ServerOptions& options, const std::function<void()>& ready) {
  const base::Paths& paths = options.paths;
  ASSIGN_OR_RETURN(model::SystemConfig config, model::SystemConfig::Load());
  RETURN_IF_ERROR(MakeFolders(paths));
  ASSIGN_OR_RETURN(base::Fd lock, TakeAppRoot(paths));
  RETURN_IF_ERROR(base::InitializeLog("container-apiserver", paths.LogFile("apiserver")));
  spdlog::info("starting version={} app_root={} install_root={}", std::string(base::kVersion),
               paths.app_root(), paths.install_root());

  std::vector<std::string> warnings;
  TaskPool pool(kMostThreads);
  ASSIGN_OR_RETURN(std::unique_ptr<EventLoop> loop, EventLoop::Create());
  ASSIGN_OR_RETURN(std::unique_ptr<FileWatcher> watcher, FileWatcher::Create(*loop));
  ASSIGN_OR_RETURN(std::unique_ptr<StateStore> store,
                   StateStore::Open(paths.StateDatabase(), paths.SetAside(), warnings));
  VirtualMachines machines(paths, config, pool);
  machines.Prepare(options.install_kernel);
  auto images = std::make_shared<ImagesHelper>(paths, pool, *loop);
  images->Start();
  ContainerManager manager({paths, DefaultsOf(config),
                            [images](const std::string& reference, const std::string& platform) {
                              return images->PrepareRoot(reference, platform);
                            },
                            [&machines] { return machines.RuntimeConfiguration(); }},
                           pool, *loop, *store);
  RETURN_IF_ERROR(manager.Recover(warnings));
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);

  const auto leave = [&paths] {
    // Whoever finds no socket knows at once that nobody serves.
    base::RemoveFile(paths.ApiserverSocket()).IgnoreError();
    spdlog::info("ended");
    spdlog::default_logger()->flush();
    // Calls may wait for containers that run on, for ever: the end of the process ends them.
    std::_Exit(0);
  };
  ContainersService containers_service(manager, pool, *watcher);
  SystemService system_service(
      {paths, manager, *images, machines, pool, *watcher, warnings, leave});
  Proxy proxy("container.images.v1.Images", [images](Proxy::ChannelDone done) {
    images->WithChannel(kImagesPatience, std::move(done));
  });
  ASSIGN_OR_RETURN(base::Fd listener, Listener(options));
  ASSIGN_OR_RETURN(
      std::unique_ptr<base::RpcServer> server,
      base::RpcServer::Start(std::move(listener), {&containers_service, &system_service}, &proxy));
  spdlog::info("serving socket={}", paths.ApiserverSocket());
  ready();

  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  int signal = 0;
  while (::sigwait(&signals, &signal) != 0) {
  }
  spdlog::info("ending by signal={}; containers run on", signal);
  leave();
  return absl::OkStatus();
}

}  // namespace container::apiserver
