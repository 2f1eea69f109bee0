#include "base/paths.h"

#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace container::base {
namespace {

namespace fs = std::filesystem;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// FNV-1a, which is the same in every process and needs no library. Names only what is the user's
/// own; a collision would be found by the socket's being in use.
std::string Hash(absl::string_view text, size_t hex_digits) {
  uint64_t hash = 14695981039346656037u;
  for (unsigned char byte : text) hash = (hash ^ byte) * 1099511628211u;
  return std::string(absl::StrCat(absl::Hex(hash, absl::kZeroPad16)).substr(0, hex_digits));
}

/// An XDG base directory: the variable if it is an absolute path, else HOME and `fallback`.
std::string XdgDirectory(const char* variable, const char* fallback) {
  std::string value = Environment(variable);
  if (!value.empty() && value[0] == '/') return value;
  const std::string home = Environment("HOME");
  return home.empty() ? "" : absl::StrCat(home, "/", fallback);
}

bool IsOwnDirectory(const std::string& path) {
  struct stat info;
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid();
}

std::string RuntimeBase() {
  std::string base = Environment("XDG_RUNTIME_DIR");
  if (!base.empty() && base[0] == '/') return base;
  // A root shell or a CI runner has no such variable.
  base = absl::StrCat("/run/user/", ::geteuid());
  if (IsOwnDirectory(base)) return base;
  return absl::StrCat("/tmp/container-run-", ::geteuid());
}

std::string DefaultAppRoot() {
  std::string data = XdgDirectory("XDG_DATA_HOME", ".local/share");
  return data.empty() ? "" : data + "/container";
}

std::string RuntimeDirFor(const std::string& app_root) {
  if (app_root == DefaultAppRoot()) return RuntimeBase() + "/container";
  return absl::StrCat(RuntimeBase(), "/container-", Hash(app_root, 8));
}

std::string Absolute(const std::string& path) {
  std::error_code error;
  std::string normal = fs::absolute(path, error).lexically_normal();
  if (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

}  // namespace

absl::StatusOr<Paths> Paths::Create(std::string app_root, std::string install_root,
                                    std::string runtime_dir, std::string log_root) {
  Paths paths;
  paths.app_root_ = Absolute(app_root);
  paths.install_root_ = Absolute(install_root);
  paths.runtime_dir_ = Absolute(runtime_dir);
  paths.log_root_ = Absolute(log_root);
  // The longest name below it; see unix(7) for the limit. "io/<random>/stdout.sock" is the same.
  const size_t longest = paths.runtime_dir_.size() + sizeof("/r/0123456789abcdef.sock");
  if (longest > sizeof(sockaddr_un::sun_path)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the runtime directory ", paths.runtime_dir_,
        " has too long a path for Unix sockets: set XDG_RUNTIME_DIR to one of at most ",
        sizeof(sockaddr_un::sun_path) - sizeof("/container-01234567/r/0123456789abcdef.sock"),
        " bytes"));
  }
  return paths;
}

absl::StatusOr<Paths> Paths::FromEnvironment() {
  std::string app_root = Environment("CONTAINER_APP_ROOT");
  if (app_root.empty()) app_root = DefaultAppRoot();
  if (app_root.empty()) {
    return absl::FailedPreconditionError(
        "neither HOME nor XDG_DATA_HOME is set: set one, or CONTAINER_APP_ROOT");
  }
  app_root = Absolute(app_root);
  std::string install_root = Environment("CONTAINER_INSTALL_ROOT");
  if (install_root.empty()) {
    ASSIGN_OR_RETURN(std::string self, SelfPath());
    fs::path folder = fs::path(self).parent_path().parent_path();
    // A plugin lies in <install root>/libexec/container/plugins/<name>/bin/.
    if (folder.parent_path().filename() == "plugins") {
      folder = folder.parent_path().parent_path().parent_path().parent_path();
    }
    install_root = folder;
  }
  std::string log_root = Environment("CONTAINER_LOG_ROOT");
  if (log_root.empty()) {
    std::string state = XdgDirectory("XDG_STATE_HOME", ".local/state");
    log_root =
        app_root == DefaultAppRoot() && !state.empty() ? state + "/container" : app_root + "/log";
  }
  return Create(app_root, install_root, RuntimeDirFor(app_root), log_root);
}

absl::StatusOr<Paths> Paths::WithRoots(std::string app_root, std::string install_root,
                                       std::string log_root) const {
  const bool moved = !app_root.empty() && Absolute(app_root) != app_root_;
  if (app_root.empty()) app_root = app_root_;
  app_root = Absolute(app_root);
  if (install_root.empty()) install_root = install_root_;
  if (log_root.empty()) log_root = moved ? app_root + "/log" : log_root_;
  return Create(app_root, install_root, moved ? RuntimeDirFor(app_root) : runtime_dir_, log_root);
}

std::string Paths::RuntimeSocket(absl::string_view container_id) const {
  return absl::StrCat(RuntimeSockets(), "/", Hash(container_id, 16), ".sock");
}

std::string UserConfigFile() {
  std::string named = Environment("CONTAINER_CONFIG");
  if (!named.empty()) return named;
  std::string folder = XdgDirectory("XDG_CONFIG_HOME", ".config");
  return folder.empty() ? "" : folder + "/container/config.toml";
}

std::string RegistryAuthFile() {
  std::string named = Environment("CONTAINER_REGISTRY_AUTH");
  if (!named.empty()) return named;
  std::string folder = XdgDirectory("XDG_CONFIG_HOME", ".config");
  return folder.empty() ? "" : folder + "/container/registry-auth.json";
}

std::string SystemConfigFile() { return "/etc/container/config.toml"; }

absl::StatusOr<std::string> SelfPath() {
  std::error_code error;
  std::string path = fs::read_symlink("/proc/self/exe", error);
  if (error) return ErrnoStatus(error.value(), "readlink /proc/self/exe");
  return path;
}

}  // namespace container::base
