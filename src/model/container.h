// What a container is: plain structs with a default for every field, and their JSON.
//
// The JSON of ContainerConfiguration is public: `container inspect` prints it, scripts read it, and
// the bundle's config.json keeps it. Its keys are those of apple/container's resources; keys of
// ours are marked. Unknown keys are ignored and missing ones get their default, so that old bundles
// and new programs understand each other.
//
// FromJson returns INVALID_ARGUMENT for text that is no JSON or has a field of the wrong type.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace container::model {

struct Platform {
  std::string os = "linux";
  std::string architecture = "amd64";
  std::string variant;
  friend bool operator==(const Platform&, const Platform&) = default;
};

/// An OCI content descriptor.
struct Descriptor {
  std::string media_type;
  std::string digest;  // "sha256:<64 hex digits>"
  int64_t size_bytes = 0;
  friend bool operator==(const Descriptor&, const Descriptor&) = default;
};

struct Rlimit {
  std::string limit;  // "RLIMIT_NOFILE"
  uint64_t soft = 0;  // 2^64-1: unlimited
  uint64_t hard = 0;
  friend bool operator==(const Rlimit&, const Rlimit&) = default;
};

struct TmpfsMount {
  std::string destination;           // absolute
  std::vector<std::string> options;  // "size=64m", "mode=1777", "ro", …; see ParseTmpfs
  friend bool operator==(const TmpfsMount&, const TmpfsMount&) = default;
};

/// A line for /etc/hosts.
struct HostEntry {
  std::string name;
  std::string address;
  friend bool operator==(const HostEntry&, const HostEntry&) = default;
};

/// One process, complete: nothing is left to be looked up but names in the container's own files.
struct ProcessConfiguration {
  std::string executable;                // argv[0]: a path, or a name for PATH
  std::vector<std::string> arguments;    // argv[1] and on
  std::vector<std::string> environment;  // "KEY=value"
  std::string working_directory = "/";
  bool terminal = false;
  /// "name", "uid", "name:group", "uid:gid"; "" is root. JSON: {"raw":{"userString":…}}, and
  /// {"id":{"uid":…,"gid":…}} is understood.
  std::string user;
  std::vector<uint32_t> supplemental_groups;
  std::vector<Rlimit> rlimits;

  friend bool operator==(const ProcessConfiguration&, const ProcessConfiguration&) = default;
  std::string ToJson() const;
  static absl::StatusOr<ProcessConfiguration> FromJson(absl::string_view text);
};

struct Resources {
  int cpus = 4;
  int64_t memory_bytes = int64_t{1} << 30;
  friend bool operator==(const Resources&, const Resources&) = default;
};

struct ContainerConfiguration {
  std::string id;
  std::string image_reference;  // normalized
  Descriptor image_descriptor;
  Platform platform;
  ProcessConfiguration init_process;
  Resources resources;
  std::map<std::string, std::string> labels;
  std::string runtime_handler = "container-runtime-linux";
  std::string stop_signal = "SIGTERM";
  std::string creation_date;              // RFC 3339
  bool auto_remove = false;               // ours: --rm
  bool open_stdin = false;                // ours: -i, the first process has a standard input
  std::string hostname;                   // ours: the guest's
  int64_t stop_timeout_ms = 5000;         // ours: between the stop signal and SIGKILL
  bool read_only = false;                 // the root file system
  bool use_init = false;                  // a small init is PID 1, the first process its child
  std::vector<std::string> cap_add;       // normalized; "ALL" is one
  std::vector<std::string> cap_drop;      // goes first
  std::optional<int64_t> shm_size_bytes;  // of /dev/shm; not set: 64 MiB
  std::map<std::string, std::string> sysctls;
  std::optional<std::vector<std::string>> masked_paths;     // not set: the default ones
  std::optional<std::vector<std::string>> read_only_paths;  // not set: the default ones
  /// JSON: mounts of the type tmpfs.
  std::vector<TmpfsMount> tmpfs;
  std::vector<HostEntry> extra_hosts;  // ours
  bool privileged = false;             // ours: everything inside the VM
  bool own_host_files = false;         // ours: /etc/hostname and /etc/hosts replace the image's
  std::string kernel;                  // ours: path of a kernel for this container; "": the default

  friend bool operator==(const ContainerConfiguration&, const ContainerConfiguration&) = default;
  std::string ToJson() const;
  static absl::StatusOr<ContainerConfiguration> FromJson(absl::string_view text);
};

/// `status` of the public container object.
struct ContainerStatus {
  std::string state = "stopped";  // "running", "stopped", "stopping", "unknown"
  std::string started_date;       // RFC 3339, or ""
  std::string finished_date;      // ours
  std::optional<int> exit_code;   // ours
  std::string error;              // ours: why the last start or run failed
  friend bool operator==(const ContainerStatus&, const ContainerStatus&) = default;
};

/// The object that `list --format json` and `inspect` print: {id, configuration, status}.
std::string ContainerObjectJson(const ContainerConfiguration& configuration,
                                const ContainerStatus& status);

/// The reverse, for the CLI's tables.
struct ContainerObject {
  ContainerConfiguration configuration;
  ContainerStatus status;
};
absl::StatusOr<ContainerObject> ParseContainerObject(absl::string_view text);

/// What the user says of a process (run, create, exec). Not set: from the image, or for exec from
/// the container's first process.
struct ProcessOptions {
  std::vector<std::string> arguments;    // for exec: argv; for run: the words behind the image
  std::vector<std::string> environment;  // "KEY=value", added to or replacing the image's
  std::optional<std::string> working_directory;
  std::optional<std::string> user;
  bool terminal = false;
  bool interactive = false;     // standard input is wanted
  std::optional<uint32_t> gid;  // replaces the group of `user`, or of the image's
  std::vector<uint32_t> supplemental_groups;
  std::vector<Rlimit> rlimits;  // a later one of the same kind wins

  std::string ToJson() const;
  static absl::StatusOr<ProcessOptions> FromJson(absl::string_view text);
};

/// What the user says of a container (run, create).
struct CreateOptions {
  std::string id;        // "" : one is made
  std::string image;     // as the user wrote it
  std::string platform;  // "os/arch[/variant]"; "": the host's
  ProcessOptions process;
  std::optional<std::string> entrypoint;  // "" clears the image's
  std::optional<int> cpus;
  std::optional<int64_t> memory_bytes;
  bool auto_remove = false;
  std::vector<std::string> cap_add;  // normalized
  std::vector<std::string> cap_drop;
  bool read_only = false;
  bool use_init = false;
  bool privileged = false;
  std::string hostname;  // "": the id
  std::map<std::string, std::string> labels;
  std::string stop_signal;  // "": the image's
  std::optional<int64_t> stop_timeout_ms;
  std::optional<int64_t> shm_size_bytes;
  std::vector<TmpfsMount> tmpfs;
  std::map<std::string, std::string> sysctls;
  std::vector<std::string> masked_paths;     // added to the default ones; NONE clears
  std::vector<std::string> read_only_paths;  // added to the default ones; NONE clears
  std::vector<HostEntry> extra_hosts;
  std::string kernel;  // absolute path, or ""

  std::string ToJson() const;
  static absl::StatusOr<CreateOptions> FromJson(absl::string_view text);
};

/// runtime.json of a bundle: what the runtime helper needs and the user never said. Written by the
/// apiserver at each start.
struct RuntimeConfiguration {
  std::string kernel_path;
  std::string initramfs_path;
  std::string qemu_program;
  std::string accelerator;  // "kvm" or "tcg"

  std::string ToJson() const;
  static absl::StatusOr<RuntimeConfiguration> FromJson(absl::string_view text);
};

/// helper.json of a bundle: which process runs the container.
struct HelperRecord {
  int pid = 0;
  uint64_t start_ticks = 0;  // see base::ProcessIdentity
  std::string socket;
  std::string started_date;  // RFC 3339, when the first process was started; "" before

  std::string ToJson() const;
  static absl::StatusOr<HelperRecord> FromJson(absl::string_view text);
};

/// exit.json of a bundle: how the last run ended. Written once, by the runtime helper, before it
/// tells anyone.
struct ExitRecord {
  int exit_code = 0;
  int64_t finished_ns = 0;  // since the epoch
  std::string error;        // set if the VM, and not the process, ended it

  std::string ToJson() const;
  static absl::StatusOr<ExitRecord> FromJson(absl::string_view text);
};

/// docker's default set, with the CAP_ prefix, in alphabetical order.
const std::vector<std::string>& DefaultCapabilities();

}  // namespace container::model
