// A helper program as its folder describes it: <folder>/config.toml and <folder>/bin/<name>.
//
// config.toml: abstract, author, version; and for a service `[service]` with type, loadAtBoot,
// runAtLoad and defaultArguments, to which the caller's own are appended.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/paths.h"

namespace container::apiserver {

struct Plugin {
  std::string name;
  std::string program;  // absolute
  std::string abstract;
  std::string version;
  bool is_service = false;
  std::string type;  // "core", "network", "runtime", "auxiliary"
  bool load_at_boot = false;
  bool run_at_load = false;
  std::vector<std::string> default_arguments;
};

/// Looks below the app root's user-plugins first, then in the installation. NOT_FOUND if there is
/// no such plugin or its program is missing; INVALID_ARGUMENT if its config.toml can't be read.
absl::StatusOr<Plugin> LoadPlugin(const base::Paths& paths, const std::string& name);

}  // namespace container::apiserver
