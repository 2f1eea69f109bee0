#include "plugins/runtime_linux/guest_options.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "base/units.h"

namespace container::runtime_linux {

namespace guest = vminitd::v1;

guest::Tmpfs DescribeTmpfs(const model::TmpfsMount& mount) {
  guest::Tmpfs tmpfs;
  tmpfs.set_destination(mount.destination);
  std::vector<std::string> data;
  for (const std::string& option : mount.options) {
    absl::string_view value = option;
    // The last one of a pair wins, as in mount(8).
    if (option == "ro" || option == "rw") {
      tmpfs.set_read_only(option == "ro");
    } else if (option == "exec" || option == "noexec") {
      tmpfs.set_exec(option == "exec");
    } else if (option == "suid" || option == "nosuid") {
      tmpfs.set_suid(option == "suid");
    } else if (option == "dev" || option == "nodev") {
      tmpfs.set_dev(option == "dev");
    } else if (option == "noatime") {
      tmpfs.set_noatime(true);
    } else if (absl::ConsumePrefix(&value, "size=") && !absl::EndsWith(value, "%")) {
      // The kernel does not know all of our units.
      absl::StatusOr<int64_t> bytes = base::ParseSizeBytes(value);
      data.push_back(bytes.ok() ? absl::StrCat("size=", *bytes) : option);
    } else {
      data.push_back(option);
    }
  }
  tmpfs.set_data(absl::StrJoin(data, ","));
  return tmpfs;
}

void DescribeOptions(const model::ContainerConfiguration& configuration,
                     guest::CreateContainerRequest& request) {
  request.mutable_root()->set_read_only(configuration.read_only);
  request.set_own_host_files(configuration.own_host_files);
  for (const model::HostEntry& entry : configuration.extra_hosts) {
    guest::HostEntry* added = request.add_extra_hosts();
    added->set_name(entry.name);
    added->set_address(entry.address);
  }
  for (const auto& [name, value] : configuration.sysctls) {
    guest::Sysctl* sysctl = request.add_sysctls();
    sysctl->set_name(name);
    sysctl->set_value(value);
  }
  request.set_shm_size_bytes(configuration.shm_size_bytes.value_or(0));
  for (const model::TmpfsMount& mount : configuration.tmpfs) {
    *request.add_tmpfs() = DescribeTmpfs(mount);
  }
  if (configuration.masked_paths.has_value()) {
    guest::PathList* list = request.mutable_masked_paths();
    for (const std::string& path : *configuration.masked_paths) list->add_paths(path);
  }
  if (configuration.read_only_paths.has_value()) {
    guest::PathList* list = request.mutable_read_only_paths();
    for (const std::string& path : *configuration.read_only_paths) list->add_paths(path);
  }
  request.set_use_init(configuration.use_init);
  request.set_privileged(configuration.privileged);
}

}  // namespace container::runtime_linux
