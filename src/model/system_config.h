// config.toml: the user's over the system's, every key optional.
//
//   [container] cpus = 4, memory = "1g"         what a container gets that asks for nothing
//   [kernel]    binaryPath, url, digest         the recommended kernel, if not the installed one
//   [registry]  domain = "docker.io"            where references without a registry lead
//   [registry.hosts."host:port"]                 one registry; "docker.io" is one of them
//               mirrors = ["mirror.test:5000", "https://cache.test/proxy"]   asked before it
//               ca = "ca.pem"      certificates to trust as well; relative to config.toml's folder
//               insecure = true    any certificate will do, and plain HTTP where TLS fails
//   [vm]        accelerator = "auto"            or "kvm", "tcg"
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace container::model {

struct RegistryHost {
  std::vector<std::string> mirrors;
  std::string ca_file;  // absolute, or empty
  bool insecure = false;

  friend bool operator==(const RegistryHost&, const RegistryHost&) = default;
};

struct SystemConfig {
  int container_cpus = 4;
  int64_t container_memory_bytes = int64_t{1} << 30;
  std::string kernel_binary_path;
  std::string kernel_url;
  std::string kernel_digest;  // "sha256:…" of what the URL gives
  std::string registry_domain = "docker.io";
  std::map<std::string, RegistryHost> registry_hosts;  // by "host[:port]"; the user's entries whole
  std::string vm_accelerator = "auto";

  friend bool operator==(const SystemConfig&, const SystemConfig&) = default;

  /// Reads base::SystemConfigFile and base::UserConfigFile; files that are not there count as
  /// empty. INVALID_ARGUMENT names file, line, key and what was expected.
  static absl::StatusOr<SystemConfig> Load();
  /// For tests: in this order, the later over the earlier.
  static absl::StatusOr<SystemConfig> LoadFiles(const std::string& system_file,
                                                const std::string& user_file);
};

/// The least a VM needs to boot and to run anything.
inline constexpr int64_t kSmallestMemoryBytes = int64_t{128} << 20;

}  // namespace container::model
