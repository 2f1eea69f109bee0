#include "model/system_config.h"

#include <filesystem>
#include <functional>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/status.h"
#include "base/units.h"
#include "toml++/toml.h"

namespace container::model {
namespace {

std::string Where(const std::string& file, const toml::node& node, absl::string_view key) {
  return absl::StrCat(file, ", line ", node.source().begin.line, ": ", key);
}

absl::Status ReadString(const toml::node& node, std::string& target) {
  const auto* value = node.as_string();
  if (value == nullptr) return absl::InvalidArgumentError("expected a string in quotes");
  target = value->get();
  return absl::OkStatus();
}

absl::Status ReadCpus(const toml::node& node, int& target) {
  const auto* value = node.as_integer();
  if (value == nullptr || value->get() < 1 || value->get() > 1024) {
    return absl::InvalidArgumentError("expected a whole number from 1 to 1024");
  }
  target = static_cast<int>(value->get());
  return absl::OkStatus();
}

absl::Status ReadMemory(const toml::node& node, int64_t& target) {
  std::string text;
  RETURN_IF_ERROR(ReadString(node, text));
  ASSIGN_OR_RETURN(target, base::ParseSizeBytes(text));
  if (target < kSmallestMemoryBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected at least ", base::FormatSize(kSmallestMemoryBytes)));
  }
  return absl::OkStatus();
}

absl::Status ReadAccelerator(const toml::node& node, std::string& target) {
  RETURN_IF_ERROR(ReadString(node, target));
  if (target == "auto" || target == "kvm" || target == "tcg") return absl::OkStatus();
  return absl::InvalidArgumentError("expected \"auto\", \"kvm\" or \"tcg\"");
}

using Reader = std::function<absl::Status(const toml::node&, SystemConfig&)>;

const std::map<std::string, std::map<std::string, Reader>>& Readers() {
  static const auto& readers = *new std::map<std::string, std::map<std::string, Reader>>{
      {"container",
       {{"cpus", [](auto& node, auto& c) { return ReadCpus(node, c.container_cpus); }},
        {"memory",
         [](auto& node, auto& c) { return ReadMemory(node, c.container_memory_bytes); }}}},
      {"kernel",
       {{"binaryPath", [](auto& node, auto& c) { return ReadString(node, c.kernel_binary_path); }},
        {"url", [](auto& node, auto& c) { return ReadString(node, c.kernel_url); }},
        {"digest", [](auto& node, auto& c) { return ReadString(node, c.kernel_digest); }}}},
      {"registry",
       {{"domain", [](auto& node, auto& c) { return ReadString(node, c.registry_domain); }}}},
      {"vm",
       {{"accelerator",
         [](auto& node, auto& c) { return ReadAccelerator(node, c.vm_accelerator); }}}},
  };
  return readers;
}

absl::Status ReadBool(const toml::node& node, bool& target) {
  const auto* value = node.as_boolean();
  if (value == nullptr) return absl::InvalidArgumentError("expected true or false");
  target = value->get();
  return absl::OkStatus();
}

absl::Status ReadMirrors(const toml::node& node, std::vector<std::string>& target) {
  const toml::array* list = node.as_array();
  if (list == nullptr) return absl::InvalidArgumentError("expected a list of strings, [\"host\"]");
  for (const toml::node& item : *list) {
    std::string mirror;
    RETURN_IF_ERROR(ReadString(item, mirror));
    if (mirror.empty() || mirror.find_first_of(" \t@?#") != std::string::npos) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", mirror, "' is no \"host[:port]\" or URL of a registry"));
    }
    target.push_back(std::move(mirror));
  }
  return absl::OkStatus();
}

// [registry.hosts."host:port"], one table for each registry.
absl::Status ReadHosts(const std::string& file, const toml::node& node, SystemConfig& config) {
  const toml::table* hosts = node.as_table();
  if (hosts == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(Where(file, node, "registry.hosts"),
                     ": expected sections such as [registry.hosts.\"host:port\"]"));
  }
  for (const auto& [host_key, host_node] : *hosts) {
    const std::string prefix = absl::StrCat("registry.hosts.\"", std::string(host_key.str()), "\"");
    const toml::table* table = host_node.as_table();
    if (table == nullptr) {
      return absl::InvalidArgumentError(
          absl::StrCat(Where(file, host_node, prefix), ": expected a section, [", prefix, "]"));
    }
    RegistryHost host;
    for (const auto& [key, value] : *table) {
      const std::string where =
          Where(file, value, absl::StrCat(prefix, ".", std::string(key.str())));
      if (key.str() == "mirrors") {
        RETURN_IF_ERROR(ReadMirrors(value, host.mirrors), where);
      } else if (key.str() == "ca") {
        RETURN_IF_ERROR(ReadString(value, host.ca_file), where);
        if (host.ca_file.empty()) return absl::InvalidArgumentError(where + ": expected a path");
        host.ca_file = std::filesystem::path(file).parent_path() / host.ca_file;
      } else if (key.str() == "insecure") {
        RETURN_IF_ERROR(ReadBool(value, host.insecure), where);
      } else {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": no such key; there are: ca, insecure, mirrors"));
      }
    }
    config.registry_hosts.insert_or_assign(std::string(host_key.str()), std::move(host));
  }
  return absl::OkStatus();
}

template <typename Map>
std::string Known(const Map& map) {
  return absl::StrJoin(map, ", ",
                       [](std::string* out, const auto& item) { out->append(item.first); });
}

absl::Status Apply(const std::string& file, SystemConfig& config) {
  if (file.empty()) return absl::OkStatus();
  auto text = base::ReadFile(file, 1 << 20);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  toml::table root;
  try {
    root = toml::parse(*text, file);
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ", line ", error.source().begin.line, ": ",
                                                   std::string(error.description())));
  }
  for (const auto& [section_key, section] : root) {
    const std::string section_name(section_key.str());
    auto readers = Readers().find(section_name);
    if (readers == Readers().end()) {
      return absl::InvalidArgumentError(absl::StrCat(
          Where(file, section, section_name), ": no such section; there are: ", Known(Readers())));
    }
    const toml::table* table = section.as_table();
    if (table == nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(Where(file, section, section_name),
                                                     ": expected a section, [", section_name, "]"));
    }
    for (const auto& [key, node] : *table) {
      const std::string name(key.str());
      const std::string where = Where(file, node, absl::StrCat(section_name, ".", name));
      if (section_name == "registry" && name == "hosts") {
        RETURN_IF_ERROR(ReadHosts(file, node, config));
        continue;
      }
      auto reader = readers->second.find(name);
      if (reader == readers->second.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat(where, ": no such key; there are: ", Known(readers->second)));
      }
      RETURN_IF_ERROR(reader->second(node, config), where);
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<SystemConfig> SystemConfig::LoadFiles(const std::string& system_file,
                                                     const std::string& user_file) {
  SystemConfig config;
  RETURN_IF_ERROR(Apply(system_file, config));
  RETURN_IF_ERROR(Apply(user_file, config));
  return config;
}

absl::StatusOr<SystemConfig> SystemConfig::Load() {
  return LoadFiles(base::SystemConfigFile(), base::UserConfigFile());
}

}  // namespace container::model
