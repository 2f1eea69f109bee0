#include "cli/run_options.h"

#include <fcntl.h>
#include <sys/utsname.h>

#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "base/units.h"
#include "cli/output/print.h"
#include "model/run_parameters.h"

namespace container::cli {
namespace {

/// This machine's, as OCI names it.
std::string HostArchitecture() {
  utsname names = {};
  ::uname(&names);
  const std::string machine = names.machine;
  if (machine == "x86_64") return "amd64";
  if (machine == "aarch64") return "arm64";
  return machine;
}

absl::StatusOr<std::string> PullWithProgress(Client& client, const CreateFlags& flags,
                                             const model::CreateOptions& options) {
  Progress progress(flags.fetch.progress);
  return client.PullImage(flags.fetch.Resolve(options.image, options.platform),
                          [&](const ProgressEvent& event) { progress.Update(event); });
}

absl::StatusOr<std::string> CreateOrPull(Client& client, const CreateFlags& flags,
                                         const model::CreateOptions& options) {
  const std::string json = options.ToJson();
  const auto pull = [&]() -> absl::Status {
    return base::Annotate(PullWithProgress(client, flags, options).status(),
                          absl::StrCat("image ", options.image,
                                       options.platform.empty() ? "" : " for ", options.platform));
  };
  if (flags.pull == "always") {
    RETURN_IF_ERROR(pull());
    return client.Create(json);
  }
  absl::StatusOr<std::string> id = client.Create(json);
  // Asking first whether the image is there would cost every run a call.
  const bool image_is_missing = absl::IsNotFound(id.status());
  const bool platform_is_missing =
      absl::IsFailedPrecondition(id.status()) && !options.platform.empty();
  if ((!image_is_missing && !platform_is_missing) || flags.pull == "never") return id;
  RETURN_IF_ERROR(pull());
  return client.Create(json);
}

OptionParser::Setter IdSetter(std::optional<uint32_t>* target) {
  return [target](const std::string& value) -> absl::Status {
    ASSIGN_OR_RETURN(*target, model::ParseId(value));
    return absl::OkStatus();
  };
}

/// Parses with `parse` and appends to `target`.
template <typename T>
OptionParser::Setter Collect(std::vector<T>* target,
                             absl::StatusOr<T> (*parse)(absl::string_view text)) {
  return [target, parse](const std::string& value) -> absl::Status {
    ASSIGN_OR_RETURN(T item, parse(value));
    target->push_back(std::move(item));
    return absl::OkStatus();
  };
}

/// The same for key and value; the last one of a key wins.
OptionParser::Setter Collect(
    std::map<std::string, std::string>* target,
    absl::StatusOr<std::pair<std::string, std::string>> (*parse)(absl::string_view text)) {
  return [target, parse](const std::string& value) -> absl::Status {
    ASSIGN_OR_RETURN(auto item, parse(value));
    (*target)[item.first] = item.second;
    return absl::OkStatus();
  };
}

absl::StatusOr<std::string> ParsePathOrNone(absl::string_view text) {
  if (text != "NONE") RETURN_IF_ERROR(model::ValidateContainerPath(text));
  return std::string(text);
}

}  // namespace

void ProcessFlags::Declare(OptionParser& parser) {
  parser.Flag("-i, --interactive", &interactive, "Keep standard input open and pass it on");
  parser.Flag("-t, --tty", &terminal, "Give the process a terminal");
  parser.Values("-e, --env", "KEY[=VALUE]", &environment,
                "Set an environment variable; without a value, to what it is here");
  parser.Values("--env-file", "FILE", &env_files, "Read environment variables from a file");
  parser.Value("-w, --workdir, --cwd", "DIR", &working_directory,
               "The process's working directory");
  parser.Value("-u, --user", "NAME|UID[:GROUP|GID]", &user, "The user to run as");
  parser.Value("--uid", "UID", IdSetter(&uid), "The user to run as, by number");
  parser.Value("--gid", "GID", IdSetter(&gid), "The group to run as, by number");
  parser.Value(
      "--ulimit", "TYPE=SOFT[:HARD]",
      [this](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(model::Rlimit limit, model::ParseUlimit(value));
        rlimits.push_back(std::move(limit));
        return absl::OkStatus();
      },
      "Limit a resource, such as nofile=1024:2048 or core=unlimited");
}

absl::StatusOr<model::ProcessOptions> ProcessFlags::Resolve(std::vector<std::string> arguments,
                                                            const HostEnvironment& host) const {
  model::ProcessOptions options;
  options.arguments = std::move(arguments);
  ASSIGN_OR_RETURN(options.environment, BuildEnvironment(env_files, environment, host));
  options.working_directory = working_directory;
  if (working_directory.has_value() && !absl::StartsWith(*working_directory, "/")) {
    return absl::InvalidArgumentError(
        absl::StrCat("--workdir: '", *working_directory, "' is not an absolute path"));
  }
  options.user = user;
  if (user.has_value() && uid.has_value()) {
    return absl::InvalidArgumentError("--user and --uid exclude each other");
  }
  if (user.has_value() && gid.has_value() && absl::StrContains(*user, ':')) {
    return absl::InvalidArgumentError("--gid and a group in --user exclude each other");
  }
  if (uid.has_value()) options.user = absl::StrCat(*uid);
  options.gid = gid;
  options.rlimits = rlimits;
  options.terminal = terminal;
  options.interactive = interactive;
  return options;
}

void PlatformFlags::Declare(OptionParser& parser) {
  parser.Value("--platform", "OS/ARCH[/VARIANT]", &platform,
               "The platform of a multi-platform image; this machine's if not given");
  parser.Value("-a, --arch", "ARCH", &architecture, "The architecture of that platform");
  parser.Value("--os", "OS", &os, "The operating system of that platform");
}

absl::StatusOr<std::string> PlatformFlags::Resolve() const {
  if (!platform.empty()) {
    if (!architecture.empty() || !os.empty()) {
      return absl::InvalidArgumentError("--platform and --arch or --os exclude each other");
    }
    return platform;
  }
  if (architecture.empty() && os.empty()) return std::string();
  return absl::StrCat(os.empty() ? "linux" : os, "/",
                      architecture.empty() ? HostArchitecture() : architecture);
}

void FetchFlags::Declare(OptionParser& parser) {
  DeclareConnection(parser);
  parser.Value("--max-concurrent-downloads", "N", &max_concurrent_downloads, 1,
               "How many layers to fetch at once (3)");
}

void FetchFlags::DeclareScheme(OptionParser& parser) {
  parser.Value(
      "--scheme", "auto|http|https",
      [this](const std::string& value) -> absl::Status {
        if (value != "auto" && value != "http" && value != "https") {
          return absl::InvalidArgumentError(
              absl::StrCat("'", value, "' is none of auto, http, https"));
        }
        scheme = value;
        return absl::OkStatus();
      },
      "How to talk to the registry; auto: http on this machine and in private networks");
}

void FetchFlags::DeclareProgress(OptionParser& parser) {
  if (absl::StatusOr<ProgressMode> mode = ParseProgressMode("auto"); mode.ok()) progress = *mode;
  parser.Value(
      "--progress", kProgressModes,
      [this](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(progress, ParseProgressMode(value));
        return absl::OkStatus();
      },
      "How to show the progress");
}

PullOptions FetchFlags::Resolve(std::string reference, std::string platform) const {
  return {std::move(reference), std::move(platform), scheme, max_concurrent_downloads.value_or(0)};
}

void CreateFlags::Declare(OptionParser& parser) {
  process.Declare(parser);
  parser.Value("--name", "NAME", &name, "The container's id; a random one if not given");
  parser.Flag("--rm, --remove", &auto_remove, "Delete the container when it has ended");
  parser.Value("-c, --cpus", "N", &cpus, 1, "Virtual CPUs");
  parser.Value(
      "-m, --memory", "SIZE",
      [this](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(memory_bytes, base::ParseSizeBytes(value));
        return absl::OkStatus();
      },
      "Memory, such as 512m or 2g");
  parser.Value("--entrypoint", "PROGRAM", &entrypoint,
               "Run this instead of the image's entrypoint; empty: none");
  platform.Declare(parser);
  parser.Value("--cidfile", "FILE", &cidfile, "Write the container's id to a new file");
  DeclareRights(parser);
  DeclareMachine(parser);
  parser.Value(
      "--pull", "always|missing|never",
      [this](const std::string& value) -> absl::Status {
        if (value != "always" && value != "missing" && value != "never") {
          return absl::InvalidArgumentError(
              absl::StrCat("'", value, "' is none of always, missing, never"));
        }
        pull = value;
        return absl::OkStatus();
      },
      "When to pull the image (missing)");
  fetch.Declare(parser);
  parser.Operand("IMAGE", &image, "The image; pulled if it is not there");
  parser.Rest("COMMAND", &arguments, "Instead of the image's command; all words behind the image");
}

void CreateFlags::DeclareRights(OptionParser& parser) {
  parser.Value("--cap-add", "NAME", Collect(&options.cap_add, &model::NormalizeCapability),
               "Add a capability, or ALL; goes after those dropped");
  parser.Value("--cap-drop", "NAME", Collect(&options.cap_drop, &model::NormalizeCapability),
               "Drop a capability, or ALL");
  parser.Flag("--privileged", &options.privileged,
              "All capabilities and devices inside the container's own VM");
  parser.Flag("--read-only", &options.read_only, "Make the root file system read-only");
  parser.Value("--masked-path", "PATH", Collect(&options.masked_paths, &ParsePathOrNone),
               "Hide a further path; NONE hides none of those before it");
  parser.Value("--read-only-path", "PATH", Collect(&options.read_only_paths, &ParsePathOrNone),
               "Make a further path read-only; NONE makes writable those before it");
}

void CreateFlags::DeclareMachine(OptionParser& parser) {
  parser.Value(
      "--hostname", "NAME",
      [this](const std::string& value) -> absl::Status {
        options.hostname = value;
        return model::ValidateHostname(value);
      },
      "The container's host name; its id if not given");
  parser.Value("--add-host", "NAME:ADDRESS", Collect(&options.extra_hosts, &model::ParseHostEntry),
               "Add a line to /etc/hosts");
  parser.Value("-l, --label", "KEY[=VALUE]", Collect(&options.labels, &model::ParseLabel),
               "Label the container");
  parser.Value(
      "--stop-signal", "SIGNAL",
      [this](const std::string& value) -> absl::Status {
        options.stop_signal = value;
        return base::ParseSignal(value).status();
      },
      "The signal that stops it; the image's or SIGTERM if not given");
  parser.Value(
      "--stop-timeout", "SECONDS",
      [this](const std::string& value) -> absl::Status {
        int seconds = 0;
        if (!absl::SimpleAtoi(value, &seconds) || seconds < 0) {
          return absl::InvalidArgumentError(
              absl::StrCat("'", value, "' is not a whole number from 0 on"));
        }
        options.stop_timeout_ms = int64_t{seconds} * 1000;
        return absl::OkStatus();
      },
      "How long a stop waits before SIGKILL (5)");
  parser.Flag("--init", &options.use_init,
              "Run an init as process 1, which passes signals on and reaps");
  parser.Value(
      "--shm-size", "SIZE",
      [this](const std::string& value) -> absl::Status {
        ASSIGN_OR_RETURN(int64_t bytes, base::ParseSizeBytes(value));
        options.shm_size_bytes = bytes;
        return model::ValidateShmSize(bytes);
      },
      "Size of /dev/shm (64m)");
  parser.Value("--tmpfs", "PATH[:OPTION,...]", Collect(&options.tmpfs, &model::ParseTmpfs),
               "A folder in memory; options such as size=64m, mode=1777, uid=, ro, exec");
  parser.Value("--sysctl", "NAME=VALUE", Collect(&options.sysctls, &model::ParseSysctl),
               "Set a parameter of the container's kernel");
  parser.Value("-k, --kernel", "FILE", &options.kernel, "Boot this kernel instead of the default");
}

absl::StatusOr<model::CreateOptions> CreateFlags::Resolve(const HostEnvironment& host) const {
  model::CreateOptions options = this->options;
  if (!options.kernel.empty()) {
    std::error_code error;
    options.kernel = std::filesystem::absolute(options.kernel, error).string();
    if (error || !std::filesystem::is_regular_file(options.kernel, error)) {
      return absl::InvalidArgumentError(absl::StrCat("--kernel: no file ", options.kernel));
    }
  }
  options.id = name;
  options.image = image;
  ASSIGN_OR_RETURN(options.platform, platform.Resolve());
  ASSIGN_OR_RETURN(options.process, process.Resolve(arguments, host));
  options.entrypoint = entrypoint;
  options.cpus = cpus;
  options.memory_bytes = memory_bytes;
  options.auto_remove = auto_remove;
  return options;
}

absl::StatusOr<std::string> CreateContainer(Client& client, const CreateFlags& flags,
                                            const model::CreateOptions& options) {
  base::Fd cidfile;
  if (!flags.cidfile.empty()) {
    // Made before the container, so that none is left behind for want of a place to write its id.
    ASSIGN_OR_RETURN(cidfile, base::Open(flags.cidfile, O_WRONLY | O_CREAT | O_EXCL, 0644),
                     "--cidfile");
  }
  absl::StatusOr<std::string> id = CreateOrPull(client, flags, options);
  if (cidfile) {
    if (!id.ok()) {
      base::RemoveFile(flags.cidfile).IgnoreError();
      return id.status();
    }
    absl::Status written = base::WriteAll(cidfile.get(), *id);
    if (!written.ok()) {
      client.Delete(*id, true).IgnoreError();
      base::RemoveFile(flags.cidfile).IgnoreError();
      return base::Annotate(written, "--cidfile");
    }
  }
  return id;
}

}  // namespace container::cli
