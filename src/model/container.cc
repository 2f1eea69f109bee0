#include "model/container.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "nlohmann/json.hpp"

namespace container::model {
namespace {

using Json = nlohmann::ordered_json;

template <typename T>
void Read(const Json& json, const char* key, T& target) {
  if (auto found = json.find(key); found != json.end() && !found->is_null()) {
    target = found->get<T>();
  }
}

template <typename T>
void Read(const Json& json, const char* key, std::optional<T>& target) {
  if (auto found = json.find(key); found != json.end() && !found->is_null()) {
    target = found->get<T>();
  }
}

template <typename T>
void WriteOptional(Json& json, const char* key, const std::optional<T>& value) {
  if (value.has_value()) json[key] = *value;
}

/// The member `key`, which must be an object if it is there.
const Json& Member(const Json& json, const char* key) {
  static const Json empty = Json::object();
  auto found = json.find(key);
  if (found == json.end() || found->is_null()) return empty;
  if (!found->is_object()) {
    throw Json::other_error::create(600, absl::StrCat("'", key, "' is not an object"), nullptr);
  }
  return *found;
}

/// Invalid UTF-8 (an argument, an environment variable) must not fail the whole.
std::string Dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// Parses `text` and hands it to `decode`; every exception of the JSON library ends here.
template <typename T>
absl::StatusOr<T> Decode(absl::string_view text, const char* what,
                         void (*decode)(const Json&, T&)) {
  try {
    Json json = Json::parse(text.begin(), text.end());
    if (!json.is_object()) {
      return absl::InvalidArgumentError(absl::StrCat(what, ": not a JSON object"));
    }
    T value;
    decode(json, value);
    return value;
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", error.what()));
  }
}

Json ToJson(const Platform& platform) {
  Json json = {{"os", platform.os}, {"architecture", platform.architecture}};
  if (!platform.variant.empty()) json["variant"] = platform.variant;
  return json;
}

Json ToJson(const Descriptor& descriptor) {
  return {{"mediaType", descriptor.media_type},
          {"digest", descriptor.digest},
          {"size", descriptor.size_bytes}};
}

Json ToJson(const std::vector<Rlimit>& rlimits) {
  Json json = Json::array();
  for (const Rlimit& rlimit : rlimits) {
    json.push_back({{"limit", rlimit.limit}, {"soft", rlimit.soft}, {"hard", rlimit.hard}});
  }
  return json;
}

void FromJson(const Json& json, std::vector<Rlimit>& rlimits) {
  for (const Json& item : json) {
    Rlimit& rlimit = rlimits.emplace_back();
    Read(item, "limit", rlimit.limit);
    Read(item, "soft", rlimit.soft);
    Read(item, "hard", rlimit.hard);
  }
}

Json ToJson(const std::vector<TmpfsMount>& tmpfs) {
  Json json = Json::array();
  for (const TmpfsMount& mount : tmpfs) {
    json.push_back({{"type", {{"tmpfs", Json::object()}}},
                    {"source", "tmpfs"},
                    {"destination", mount.destination},
                    {"options", mount.options}});
  }
  return json;
}

void FromJson(const Json& json, std::vector<TmpfsMount>& tmpfs) {
  for (const Json& item : json) {
    if (!Member(item, "type").contains("tmpfs")) continue;
    TmpfsMount& mount = tmpfs.emplace_back();
    Read(item, "destination", mount.destination);
    Read(item, "options", mount.options);
  }
}

Json ToJson(const std::vector<HostEntry>& hosts) {
  Json json = Json::array();
  for (const HostEntry& host : hosts) {
    json.push_back({{"name", host.name}, {"address", host.address}});
  }
  return json;
}

void FromJson(const Json& json, std::vector<HostEntry>& hosts) {
  for (const Json& item : json) {
    HostEntry& host = hosts.emplace_back();
    Read(item, "name", host.name);
    Read(item, "address", host.address);
  }
}

/// Reads the array `key` by the overloads above.
template <typename T>
void ReadArray(const Json& json, const char* key, std::vector<T>& target) {
  auto found = json.find(key);
  if (found == json.end() || found->is_null()) return;
  if (!found->is_array()) {
    throw Json::other_error::create(600, absl::StrCat("'", key, "' is not an array"), nullptr);
  }
  FromJson(*found, target);
}

Json ToJson(const ProcessConfiguration& process) {
  return {{"executable", process.executable},
          {"arguments", process.arguments},
          {"environment", process.environment},
          {"workingDirectory", process.working_directory},
          {"terminal", process.terminal},
          {"user", {{"raw", {{"userString", process.user}}}}},
          {"supplementalGroups", process.supplemental_groups},
          {"rlimits", ToJson(process.rlimits)}};
}

void FromJson(const Json& json, ProcessConfiguration& process) {
  Read(json, "executable", process.executable);
  Read(json, "arguments", process.arguments);
  Read(json, "environment", process.environment);
  Read(json, "workingDirectory", process.working_directory);
  Read(json, "terminal", process.terminal);
  const Json& user = Member(json, "user");
  if (user.contains("id")) {
    uint32_t uid = 0;
    uint32_t gid = 0;
    Read(Member(user, "id"), "uid", uid);
    Read(Member(user, "id"), "gid", gid);
    process.user = absl::StrCat(uid, ":", gid);
  }
  Read(Member(user, "raw"), "userString", process.user);
  Read(json, "supplementalGroups", process.supplemental_groups);
  ReadArray(json, "rlimits", process.rlimits);
}

Json ToJson(const ContainerConfiguration& configuration) {
  Json json = {{"id", configuration.id},
               {"image",
                {{"reference", configuration.image_reference},
                 {"descriptor", ToJson(configuration.image_descriptor)}}},
               {"labels", configuration.labels},
               {"initProcess", ToJson(configuration.init_process)},
               {"platform", ToJson(configuration.platform)},
               {"resources",
                {{"cpus", configuration.resources.cpus},
                 {"memoryInBytes", configuration.resources.memory_bytes}}},
               {"runtimeHandler", configuration.runtime_handler},
               {"stopSignal", configuration.stop_signal},
               {"creationDate", configuration.creation_date},
               {"autoRemove", configuration.auto_remove},
               {"openStdin", configuration.open_stdin},
               {"hostname", configuration.hostname},
               {"stopTimeoutMs", configuration.stop_timeout_ms},
               {"readOnly", configuration.read_only},
               {"useInit", configuration.use_init},
               {"capAdd", configuration.cap_add},
               {"capDrop", configuration.cap_drop},
               {"sysctls", configuration.sysctls},
               {"mounts", ToJson(configuration.tmpfs)},
               {"extraHosts", ToJson(configuration.extra_hosts)},
               {"privileged", configuration.privileged},
               {"ownHostFiles", configuration.own_host_files}};
  WriteOptional(json, "shmSize", configuration.shm_size_bytes);
  WriteOptional(json, "maskedPaths", configuration.masked_paths);
  WriteOptional(json, "readonlyPaths", configuration.read_only_paths);
  if (!configuration.kernel.empty()) json["kernel"] = configuration.kernel;
  return json;
}

void FromJson(const Json& json, ContainerConfiguration& configuration) {
  Read(json, "id", configuration.id);
  const Json& image = Member(json, "image");
  Read(image, "reference", configuration.image_reference);
  const Json& descriptor = Member(image, "descriptor");
  Read(descriptor, "mediaType", configuration.image_descriptor.media_type);
  Read(descriptor, "digest", configuration.image_descriptor.digest);
  Read(descriptor, "size", configuration.image_descriptor.size_bytes);
  Read(json, "labels", configuration.labels);
  FromJson(Member(json, "initProcess"), configuration.init_process);
  const Json& platform = Member(json, "platform");
  Read(platform, "os", configuration.platform.os);
  Read(platform, "architecture", configuration.platform.architecture);
  Read(platform, "variant", configuration.platform.variant);
  const Json& resources = Member(json, "resources");
  Read(resources, "cpus", configuration.resources.cpus);
  Read(resources, "memoryInBytes", configuration.resources.memory_bytes);
  Read(json, "runtimeHandler", configuration.runtime_handler);
  Read(json, "stopSignal", configuration.stop_signal);
  Read(json, "creationDate", configuration.creation_date);
  Read(json, "autoRemove", configuration.auto_remove);
  Read(json, "openStdin", configuration.open_stdin);
  Read(json, "hostname", configuration.hostname);
  Read(json, "stopTimeoutMs", configuration.stop_timeout_ms);
  Read(json, "readOnly", configuration.read_only);
  Read(json, "useInit", configuration.use_init);
  Read(json, "capAdd", configuration.cap_add);
  Read(json, "capDrop", configuration.cap_drop);
  Read(json, "sysctls", configuration.sysctls);
  ReadArray(json, "mounts", configuration.tmpfs);
  ReadArray(json, "extraHosts", configuration.extra_hosts);
  Read(json, "privileged", configuration.privileged);
  Read(json, "ownHostFiles", configuration.own_host_files);
  Read(json, "shmSize", configuration.shm_size_bytes);
  Read(json, "maskedPaths", configuration.masked_paths);
  Read(json, "readonlyPaths", configuration.read_only_paths);
  Read(json, "kernel", configuration.kernel);
}

Json ToJson(const ContainerStatus& status) {
  Json json = {{"state", status.state}, {"networks", Json::array()}};
  if (!status.started_date.empty()) json["startedDate"] = status.started_date;
  if (!status.finished_date.empty()) json["finishedDate"] = status.finished_date;
  WriteOptional(json, "exitCode", status.exit_code);
  if (!status.error.empty()) json["error"] = status.error;
  return json;
}

void FromJson(const Json& json, ContainerStatus& status) {
  Read(json, "state", status.state);
  Read(json, "startedDate", status.started_date);
  Read(json, "finishedDate", status.finished_date);
  Read(json, "exitCode", status.exit_code);
  Read(json, "error", status.error);
}

Json ToJson(const ProcessOptions& options) {
  Json json = {{"arguments", options.arguments},
               {"environment", options.environment},
               {"terminal", options.terminal},
               {"interactive", options.interactive},
               {"supplementalGroups", options.supplemental_groups},
               {"rlimits", ToJson(options.rlimits)}};
  WriteOptional(json, "gid", options.gid);
  WriteOptional(json, "workingDirectory", options.working_directory);
  WriteOptional(json, "user", options.user);
  return json;
}

void FromJson(const Json& json, ProcessOptions& options) {
  Read(json, "arguments", options.arguments);
  Read(json, "environment", options.environment);
  Read(json, "workingDirectory", options.working_directory);
  Read(json, "user", options.user);
  Read(json, "terminal", options.terminal);
  Read(json, "interactive", options.interactive);
  Read(json, "gid", options.gid);
  Read(json, "supplementalGroups", options.supplemental_groups);
  ReadArray(json, "rlimits", options.rlimits);
}

}  // namespace

std::string ProcessConfiguration::ToJson() const { return Dump(model::ToJson(*this)); }

absl::StatusOr<ProcessConfiguration> ProcessConfiguration::FromJson(absl::string_view text) {
  return Decode<ProcessConfiguration>(text, "process configuration", &model::FromJson);
}

std::string ContainerConfiguration::ToJson() const { return Dump(model::ToJson(*this)); }

absl::StatusOr<ContainerConfiguration> ContainerConfiguration::FromJson(absl::string_view text) {
  return Decode<ContainerConfiguration>(text, "container configuration", &model::FromJson);
}

std::string ContainerObjectJson(const ContainerConfiguration& configuration,
                                const ContainerStatus& status) {
  return Dump({{"id", configuration.id},
               {"configuration", ToJson(configuration)},
               {"status", ToJson(status)}});
}

absl::StatusOr<ContainerObject> ParseContainerObject(absl::string_view text) {
  return Decode<ContainerObject>(text, "container", [](const Json& json, ContainerObject& object) {
    FromJson(Member(json, "configuration"), object.configuration);
    FromJson(Member(json, "status"), object.status);
  });
}

std::string ProcessOptions::ToJson() const { return Dump(model::ToJson(*this)); }

absl::StatusOr<ProcessOptions> ProcessOptions::FromJson(absl::string_view text) {
  return Decode<ProcessOptions>(text, "process options", &model::FromJson);
}

std::string CreateOptions::ToJson() const {
  Json json = {{"id", id},
               {"image", image},
               {"platform", platform},
               {"process", model::ToJson(process)},
               {"autoRemove", auto_remove},
               {"capAdd", cap_add},
               {"capDrop", cap_drop},
               {"readOnly", read_only},
               {"useInit", use_init},
               {"privileged", privileged},
               {"hostname", hostname},
               {"labels", labels},
               {"stopSignal", stop_signal},
               {"mounts", model::ToJson(tmpfs)},
               {"sysctls", sysctls},
               {"maskedPaths", masked_paths},
               {"readonlyPaths", read_only_paths},
               {"extraHosts", model::ToJson(extra_hosts)},
               {"kernel", kernel}};
  WriteOptional(json, "stopTimeoutMs", stop_timeout_ms);
  WriteOptional(json, "shmSize", shm_size_bytes);
  WriteOptional(json, "entrypoint", entrypoint);
  WriteOptional(json, "cpus", cpus);
  WriteOptional(json, "memoryInBytes", memory_bytes);
  return Dump(json);
}

absl::StatusOr<CreateOptions> CreateOptions::FromJson(absl::string_view text) {
  return Decode<CreateOptions>(text, "create options",
                               [](const Json& json, CreateOptions& options) {
                                 Read(json, "id", options.id);
                                 Read(json, "image", options.image);
                                 Read(json, "platform", options.platform);
                                 model::FromJson(Member(json, "process"), options.process);
                                 Read(json, "entrypoint", options.entrypoint);
                                 Read(json, "cpus", options.cpus);
                                 Read(json, "memoryInBytes", options.memory_bytes);
                                 Read(json, "autoRemove", options.auto_remove);
                                 Read(json, "capAdd", options.cap_add);
                                 Read(json, "capDrop", options.cap_drop);
                                 Read(json, "readOnly", options.read_only);
                                 Read(json, "useInit", options.use_init);
                                 Read(json, "privileged", options.privileged);
                                 Read(json, "hostname", options.hostname);
                                 Read(json, "labels", options.labels);
                                 Read(json, "stopSignal", options.stop_signal);
                                 Read(json, "stopTimeoutMs", options.stop_timeout_ms);
                                 Read(json, "shmSize", options.shm_size_bytes);
                                 ReadArray(json, "mounts", options.tmpfs);
                                 Read(json, "sysctls", options.sysctls);
                                 Read(json, "maskedPaths", options.masked_paths);
                                 Read(json, "readonlyPaths", options.read_only_paths);
                                 ReadArray(json, "extraHosts", options.extra_hosts);
                                 Read(json, "kernel", options.kernel);
                               });
}

std::string RuntimeConfiguration::ToJson() const {
  return Dump({{"kernelPath", kernel_path},
               {"initramfsPath", initramfs_path},
               {"qemuProgram", qemu_program},
               {"accelerator", accelerator}});
}

absl::StatusOr<RuntimeConfiguration> RuntimeConfiguration::FromJson(absl::string_view text) {
  return Decode<RuntimeConfiguration>(text, "runtime configuration",
                                      [](const Json& json, RuntimeConfiguration& runtime) {
                                        Read(json, "kernelPath", runtime.kernel_path);
                                        Read(json, "initramfsPath", runtime.initramfs_path);
                                        Read(json, "qemuProgram", runtime.qemu_program);
                                        Read(json, "accelerator", runtime.accelerator);
                                      });
}

std::string HelperRecord::ToJson() const {
  return Dump({{"pid", pid},
               {"startTicks", start_ticks},
               {"socket", socket},
               {"startedDate", started_date}});
}

absl::StatusOr<HelperRecord> HelperRecord::FromJson(absl::string_view text) {
  return Decode<HelperRecord>(text, "helper record", [](const Json& json, HelperRecord& record) {
    Read(json, "pid", record.pid);
    Read(json, "startTicks", record.start_ticks);
    Read(json, "socket", record.socket);
    Read(json, "startedDate", record.started_date);
  });
}

std::string ExitRecord::ToJson() const {
  Json json = {{"exitCode", exit_code}, {"finishedNs", finished_ns}};
  if (!error.empty()) json["error"] = error;
  return Dump(json);
}

absl::StatusOr<ExitRecord> ExitRecord::FromJson(absl::string_view text) {
  return Decode<ExitRecord>(text, "exit record", [](const Json& json, ExitRecord& record) {
    Read(json, "exitCode", record.exit_code);
    Read(json, "finishedNs", record.finished_ns);
    Read(json, "error", record.error);
  });
}

const std::vector<std::string>& DefaultCapabilities() {
  static const auto& capabilities = *new std::vector<std::string>{
      "CAP_AUDIT_WRITE", "CAP_CHOWN",   "CAP_DAC_OVERRIDE",     "CAP_FOWNER",    "CAP_FSETID",
      "CAP_KILL",        "CAP_MKNOD",   "CAP_NET_BIND_SERVICE", "CAP_NET_RAW",   "CAP_SETFCAP",
      "CAP_SETGID",      "CAP_SETPCAP", "CAP_SETUID",           "CAP_SYS_CHROOT"};
  return capabilities;
}

}  // namespace container::model
