#include "apiserver/containers/image_defaults.h"

#include <algorithm>
#include <iterator>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "apiserver/system/kernel_file.h"
#include "base/status.h"
#include "base/units.h"
#include "model/default_paths.h"
#include "model/names.h"
#include "model/run_parameters.h"
#include "model/system_config.h"
#include "nlohmann/json.hpp"

namespace container::apiserver {
namespace {

using Json = nlohmann::json;

constexpr char kDefaultPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

template <typename T>
void Read(const Json& json, const char* key, T& target) {
  if (auto found = json.find(key); found != json.end() && !found->is_null()) {
    target = found->get<T>();
  }
}

absl::string_view KeyOf(absl::string_view entry) { return entry.substr(0, entry.find('=')); }

absl::Status ValidateUser(absl::string_view user) {
  const bool printable = std::all_of(
      user.begin(), user.end(), [](unsigned char c) { return c > ' ' && c != 0x7f && c != '/'; });
  if (user.size() <= 256 && printable && std::count(user.begin(), user.end(), ':') <= 1) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", user.substr(0, 80), "' is not a user: write name, uid, name:group or uid:gid"));
}

absl::Status ValidateProcess(const model::ProcessOptions& process) {
  for (const std::string& entry : process.environment) {
    RETURN_IF_ERROR(model::ValidateEnvironmentEntry(entry));
  }
  for (const std::string& argument : process.arguments) {
    if (argument.find('\0') != std::string::npos) {
      return absl::InvalidArgumentError(
          "an argument holds a NUL character, which no program can get");
    }
  }
  if (process.user.has_value()) RETURN_IF_ERROR(ValidateUser(*process.user));
  if (process.working_directory.has_value() &&
      (!absl::StartsWith(*process.working_directory, "/") ||
       process.working_directory->find('\0') != std::string::npos)) {
    return absl::InvalidArgumentError(absl::StrCat("the working directory '",
                                                   process.working_directory->substr(0, 80),
                                                   "' is not an absolute path"));
  }
  for (const model::Rlimit& limit : process.rlimits) {
    if (limit.soft > limit.hard) {
      return absl::InvalidArgumentError(
          absl::StrCat(limit.limit, ": the soft limit is above the hard one"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidateCapabilities(const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    ASSIGN_OR_RETURN(std::string normal, model::NormalizeCapability(name));
    if (normal != name) {
      return absl::InvalidArgumentError(absl::StrCat("'", name, "' is not a capability's name"));
    }
  }
  return absl::OkStatus();
}

absl::Status ValidatePaths(const std::vector<std::string>& paths) {
  for (const std::string& path : paths) {
    if (path != "NONE") RETURN_IF_ERROR(model::ValidateContainerPath(path));
  }
  return absl::OkStatus();
}

/// What there is to say against the options of the machine around the process.
absl::Status ValidateSurroundings(const model::CreateOptions& options) {
  RETURN_IF_ERROR(ValidateCapabilities(options.cap_add));
  RETURN_IF_ERROR(ValidateCapabilities(options.cap_drop));
  if (!options.hostname.empty()) RETURN_IF_ERROR(model::ValidateHostname(options.hostname));
  if (!options.stop_signal.empty()) {
    RETURN_IF_ERROR(base::ParseSignal(options.stop_signal).status());
  }
  if (options.stop_timeout_ms.value_or(0) < 0) {
    return absl::InvalidArgumentError("the stop timeout is negative");
  }
  if (options.shm_size_bytes.has_value()) {
    RETURN_IF_ERROR(model::ValidateShmSize(*options.shm_size_bytes));
  }
  for (const model::TmpfsMount& mount : options.tmpfs) {
    RETURN_IF_ERROR(model::ValidateTmpfs(mount));
  }
  for (const auto& [name, value] : options.sysctls) {
    RETURN_IF_ERROR(model::ValidateSysctl(name, value));
  }
  RETURN_IF_ERROR(ValidatePaths(options.masked_paths));
  RETURN_IF_ERROR(ValidatePaths(options.read_only_paths));
  for (const model::HostEntry& entry : options.extra_hosts) {
    RETURN_IF_ERROR(model::ValidateHostEntry(entry));
  }
  if (!options.kernel.empty()) {
    RETURN_IF_ERROR(InspectKernel(options.kernel).status(), "the kernel");
  }
  return absl::OkStatus();
}

/// The user with another group.
std::string WithGroup(absl::string_view user, std::optional<uint32_t> gid) {
  if (!gid.has_value()) return std::string(user);
  const absl::string_view name = user.substr(0, user.find(':'));
  return absl::StrCat(name.empty() ? "0" : name, ":", *gid);
}

/// `over` on top of `under`, one of each kind.
std::vector<model::Rlimit> MergeRlimits(std::vector<model::Rlimit> under,
                                        const std::vector<model::Rlimit>& over) {
  for (const model::Rlimit& limit : over) {
    auto same = std::find_if(under.begin(), under.end(), [&limit](const model::Rlimit& other) {
      return other.limit == limit.limit;
    });
    if (same != under.end()) {
      *same = limit;
    } else {
      under.push_back(limit);
    }
  }
  return under;
}

/// The paths that `given` comes to, or nothing where the defaults do.
template <typename Defaults>
std::optional<std::vector<std::string>> ResolvePaths(const Defaults& defaults, bool privileged,
                                                     const std::vector<std::string>& given) {
  if (given.empty()) return std::nullopt;
  std::vector<std::string> paths;
  if (!privileged) paths.assign(std::begin(defaults), std::end(defaults));
  return model::ExtendPaths(std::move(paths), given);
}

void TakeSurroundings(const model::CreateOptions& options,
                      model::ContainerConfiguration& configuration) {
  if (!options.hostname.empty()) configuration.hostname = options.hostname;
  configuration.own_host_files = !options.hostname.empty() || !options.extra_hosts.empty();
  for (const auto& [key, value] : options.labels) configuration.labels[key] = value;
  if (!options.stop_signal.empty()) configuration.stop_signal = options.stop_signal;
  configuration.stop_timeout_ms = options.stop_timeout_ms.value_or(configuration.stop_timeout_ms);
  configuration.read_only = options.read_only;
  configuration.use_init = options.use_init;
  configuration.privileged = options.privileged;
  configuration.cap_add = options.cap_add;
  configuration.cap_drop = options.cap_drop;
  configuration.shm_size_bytes = options.shm_size_bytes;
  configuration.sysctls = options.sysctls;
  configuration.tmpfs = options.tmpfs;
  configuration.extra_hosts = options.extra_hosts;
  configuration.kernel = options.kernel;
  configuration.masked_paths =
      ResolvePaths(model::kDefaultMaskedPaths, options.privileged, options.masked_paths);
  configuration.read_only_paths =
      ResolvePaths(model::kDefaultReadOnlyPaths, options.privileged, options.read_only_paths);
}

}  // namespace

absl::StatusOr<ImageConfig> ParseImageConfig(absl::string_view config_json) {
  ImageConfig image;
  try {
    const Json root = Json::parse(config_json.begin(), config_json.end());
    auto config = root.find("config");
    if (config == root.end() || config->is_null()) return image;
    Read(*config, "Entrypoint", image.entrypoint);
    Read(*config, "Cmd", image.command);
    Read(*config, "Env", image.environment);
    Read(*config, "User", image.user);
    Read(*config, "WorkingDir", image.working_directory);
    Read(*config, "StopSignal", image.stop_signal);
    Read(*config, "Labels", image.labels);
  } catch (const Json::exception& error) {
    return absl::DataLossError(
        absl::StrCat("the image's configuration can't be read: ", error.what()));
  }
  return image;
}

absl::Status ValidateCreateOptions(const model::CreateOptions& options,
                                   const CreateDefaults& defaults) {
  if (!options.id.empty()) RETURN_IF_ERROR(model::ValidateContainerId(options.id));
  if (options.image.empty()) return absl::InvalidArgumentError("no image is named");
  if (options.cpus.has_value() && (*options.cpus < 1 || *options.cpus > defaults.host_cpus)) {
    return absl::InvalidArgumentError(absl::StrCat("a container can't have ", *options.cpus,
                                                   " CPUs: this host has ", defaults.host_cpus,
                                                   ", so ask for 1 to ", defaults.host_cpus));
  }
  if (options.memory_bytes.has_value() && *options.memory_bytes < model::kSmallestMemoryBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a container needs at least ", base::FormatSize(model::kSmallestMemoryBytes),
        " of memory, and ", base::FormatSize(*options.memory_bytes), " was asked for"));
  }
  if (options.entrypoint.has_value() && options.entrypoint->find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the entrypoint holds a NUL character");
  }
  RETURN_IF_ERROR(ValidateSurroundings(options));
  return ValidateProcess(options.process);
}

std::vector<std::string> MergeEnvironment(std::vector<std::string> under,
                                          const std::vector<std::string>& over) {
  for (const std::string& entry : over) {
    auto same = std::find_if(under.begin(), under.end(), [&entry](const std::string& other) {
      return KeyOf(other) == KeyOf(entry);
    });
    if (same != under.end()) {
      *same = entry;
    } else {
      under.push_back(entry);
    }
  }
  return under;
}

absl::StatusOr<model::ContainerConfiguration> MakeConfiguration(const std::string& id,
                                                                const model::CreateOptions& options,
                                                                const ImageConfig& image,
                                                                const CreateDefaults& defaults) {
  std::vector<std::string> command;
  if (options.entrypoint.has_value()) {
    if (!options.entrypoint->empty()) command.push_back(*options.entrypoint);
    command.insert(command.end(), options.process.arguments.begin(),
                   options.process.arguments.end());
  } else {
    command = image.entrypoint;
    const auto& words =
        options.process.arguments.empty() ? image.command : options.process.arguments;
    command.insert(command.end(), words.begin(), words.end());
  }
  if (command.empty() || command[0].empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no command: the image ", options.image,
                     " names none, so write the program to run behind the image's name"));
  }

  model::ContainerConfiguration configuration;
  configuration.id = id;
  configuration.hostname = id;
  configuration.labels = image.labels;
  configuration.auto_remove = options.auto_remove;
  configuration.open_stdin = options.process.interactive;
  // The default gives way to a small host; what a user asks for was checked against it.
  configuration.resources.cpus = options.cpus.value_or(std::min(defaults.cpus, defaults.host_cpus));
  configuration.resources.memory_bytes = options.memory_bytes.value_or(defaults.memory_bytes);
  if (!image.stop_signal.empty()) {
    // A signal that we don't know (SIGRTMIN+3 is one of systemd's) must not make the image useless.
    if (base::ParseSignal(image.stop_signal).ok()) configuration.stop_signal = image.stop_signal;
  }

  TakeSurroundings(options, configuration);

  model::ProcessConfiguration& process = configuration.init_process;
  process.executable = command[0];
  process.arguments.assign(command.begin() + 1, command.end());
  process.terminal = options.process.terminal;
  std::vector<std::string> environment = {kDefaultPath,
                                          absl::StrCat("HOSTNAME=", configuration.hostname)};
  if (process.terminal) environment.push_back("TERM=xterm");
  process.environment = MergeEnvironment(
      MergeEnvironment(std::move(environment), image.environment), options.process.environment);
  process.user = WithGroup(options.process.user.value_or(image.user), options.process.gid);
  process.supplemental_groups = options.process.supplemental_groups;
  process.rlimits = MergeRlimits({}, options.process.rlimits);
  process.working_directory = options.process.working_directory.value_or(image.working_directory);
  if (process.working_directory.empty()) process.working_directory = "/";
  if (process.working_directory[0] != '/') process.working_directory.insert(0, "/");
  return configuration;
}

absl::StatusOr<model::ProcessConfiguration> MakeExecConfiguration(
    const model::ProcessOptions& options, const model::ContainerConfiguration& container) {
  if (options.arguments.empty() || options.arguments[0].empty()) {
    return absl::InvalidArgumentError("no command to execute");
  }
  RETURN_IF_ERROR(ValidateProcess(options));
  const model::ProcessConfiguration& first = container.init_process;
  model::ProcessConfiguration process;
  process.executable = options.arguments[0];
  process.arguments.assign(options.arguments.begin() + 1, options.arguments.end());
  std::vector<std::string> environment = first.environment;
  if (options.terminal) environment = MergeEnvironment({"TERM=xterm"}, environment);
  process.environment = MergeEnvironment(std::move(environment), options.environment);
  process.working_directory = options.working_directory.value_or(first.working_directory);
  process.user = WithGroup(options.user.value_or(first.user), options.gid);
  process.supplemental_groups =
      options.supplemental_groups.empty() ? first.supplemental_groups : options.supplemental_groups;
  process.rlimits = MergeRlimits(first.rlimits, options.rlimits);
  process.terminal = options.terminal;
  return process;
}

}  // namespace container::apiserver
