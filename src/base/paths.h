// Every path on the host is built here.
//
// App root ($CONTAINER_APP_ROOT, else $XDG_DATA_HOME/container, else ~/.local/share/container):
//
//   lock                        flock(2) of the one apiserver that owns the root
//   state.db                    SQLite (WAL): the metadata of containers
//   accelerator.json            verdicts of the accelerator probe
//   content/                    the content store, owned by container-core-images
//     oci-layout index.json     OCI image layout; each name is an annotation in index.json
//     blobs/sha256/<hex>
//     staging/                  half-written blobs, never visible under a final name
//   rootfs/<hex>.erofs          flattened root file systems, by chain id of their layers
//   containers/<id>/            a container's bundle
//     config.json               model::ContainerConfiguration, written at create
//     runtime.json              what the runtime helper needs: model::RuntimeConfiguration
//     rootfs.erofs              hard link to the image's root file system
//     writable.ext4             the writable layer, sparse
//     container.log             the first process's output, in the CRI log format
//     console.log               the VM's console
//     helper.json               pid, start time and socket of the runtime helper that runs it
//     exit.json                 exit status and time of the last run, written once by the helper
//   writable/<size>.ext4        pristine writable layers, copied for each container
//   kernels/<name>              guest kernels; kernels/default is a link to one
//   user-plugins/<name>/        plugins that the user added
//   set-aside/                  state that could not be read
//
// Install root (the folder above the program's own bin/; $CONTAINER_INSTALL_ROOT):
//
//   bin/container bin/container-apiserver
//   libexec/container/plugins/<name>/{bin/<name>,config.toml}
//   share/container/initramfs.cpio     vminitd
//   share/container/vmlinux            the recommended kernel, where it is shipped
//
// Runtime directory ($XDG_RUNTIME_DIR, else /run/user/<uid>, else /tmp/container-run-<uid>) and in
// it container/ (container-<8 hex digits of the app root's hash>/ for an app root that is not the
// default), 0700:
//
//   apiserver.sock images.sock start.lock
//   r/<16 hex digits of the id's hash>.sock   a runtime helper
//   io/<random>/                              a client's own sockets for standard streams
//
// Log root ($XDG_STATE_HOME/container, else ~/.local/state/container): apiserver.log and one
// <helper>.log for each helper.
#pragma once

#include <string>
#include "absl/strings/string_view.h"

#include "absl/status/statusor.h"

namespace container::base {

/// The roots of one instance. Two instances with different app roots share nothing.
class Paths {
 public:
  /// From the environment and the place of the running program. FAILED_PRECONDITION without HOME
  /// and XDG variables, or if the runtime directory's path is too long for a socket.
  static absl::StatusOr<Paths> FromEnvironment();
  /// For tests and for helpers that are told everything by flags.
  static absl::StatusOr<Paths> Create(std::string app_root, std::string install_root,
                                      std::string runtime_dir, std::string log_root);

  const std::string& app_root() const { return app_root_; }
  const std::string& install_root() const { return install_root_; }
  const std::string& runtime_dir() const { return runtime_dir_; }
  const std::string& log_root() const { return log_root_; }

  /// Where `system start --app-root` and its kin point instead. The runtime directory follows the
  /// app root.
  absl::StatusOr<Paths> WithRoots(std::string app_root, std::string install_root,
                                  std::string log_root) const;

  std::string ApiserverLock() const { return app_root_ + "/lock"; }
  std::string StateDatabase() const { return app_root_ + "/state.db"; }
  std::string AcceleratorVerdicts() const { return app_root_ + "/accelerator.json"; }
  std::string ContentStore() const { return app_root_ + "/content"; }
  std::string RootFilesystems() const { return app_root_ + "/rootfs"; }
  std::string Containers() const { return app_root_ + "/containers"; }
  std::string Bundle(absl::string_view id) const { return Containers() + "/" + std::string(id); }
  std::string WritableTemplates() const { return app_root_ + "/writable"; }
  std::string Kernels() const { return app_root_ + "/kernels"; }
  std::string DefaultKernel() const { return Kernels() + "/default"; }
  std::string UserPlugins() const { return app_root_ + "/user-plugins"; }
  std::string SetAside() const { return app_root_ + "/set-aside"; }

  std::string ApiserverProgram() const { return install_root_ + "/bin/container-apiserver"; }
  std::string InstalledPlugins() const { return install_root_ + "/libexec/container/plugins"; }
  std::string Initramfs() const { return install_root_ + "/share/container/initramfs.cpio"; }
  std::string RecommendedKernel() const { return install_root_ + "/share/container/vmlinux"; }

  std::string ApiserverSocket() const { return runtime_dir_ + "/apiserver.sock"; }
  /// Held (flock) by `system start` while it launches the apiserver.
  std::string StartLock() const { return runtime_dir_ + "/start.lock"; }
  std::string ImagesSocket() const { return runtime_dir_ + "/images.sock"; }
  std::string RuntimeSockets() const { return runtime_dir_ + "/r"; }
  std::string RuntimeSocket(absl::string_view container_id) const;
  std::string ClientSockets() const { return runtime_dir_ + "/io"; }

  std::string LogFile(absl::string_view program) const {
    return log_root_ + "/" + std::string(program) + ".log";
  }

 private:
  Paths() = default;
  std::string app_root_;
  std::string install_root_;
  std::string runtime_dir_;
  std::string log_root_;
};

/// A container's bundle: the names in it (see above).
struct Bundle {
  std::string path;

  std::string Configuration() const { return path + "/config.json"; }
  std::string Runtime() const { return path + "/runtime.json"; }
  std::string RootFilesystem() const { return path + "/rootfs.erofs"; }
  std::string Writable() const { return path + "/writable.ext4"; }
  std::string Log() const { return path + "/container.log"; }
  std::string ConsoleLog() const { return path + "/console.log"; }
  std::string Helper() const { return path + "/helper.json"; }
  std::string Exit() const { return path + "/exit.json"; }
};

/// The config.toml of the user ($XDG_CONFIG_HOME/container/config.toml, else
/// ~/.config/container/config.toml); $CONTAINER_CONFIG names another.
std::string UserConfigFile();
/// The logins at registries that `registry login` makes, mode 0600:
/// $XDG_CONFIG_HOME/container/registry-auth.json, else ~/.config/container/registry-auth.json;
/// $CONTAINER_REGISTRY_AUTH names another. "" without any of these.
std::string RegistryAuthFile();
/// /etc/container/config.toml.
std::string SystemConfigFile();

/// /proc/self/exe.
absl::StatusOr<std::string> SelfPath();

}  // namespace container::base
