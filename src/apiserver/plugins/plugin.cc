#include "apiserver/plugins/plugin.h"

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/status.h"
#include "toml++/toml.h"

namespace container::apiserver {
namespace {

absl::StatusOr<Plugin> Parse(const std::string& file, const std::string& text) {
  Plugin plugin;
  try {
    const toml::table root = toml::parse(text, file);
    plugin.abstract = root["abstract"].value_or(std::string());
    plugin.version = root["version"].value_or(std::string());
    const toml::table* service = root["service"].as_table();
    if (service == nullptr) return plugin;
    plugin.is_service = true;
    plugin.load_at_boot = (*service)["loadAtBoot"].value_or(false);
    plugin.run_at_load = (*service)["runAtLoad"].value_or(false);
    if (const toml::array* arguments = (*service)["defaultArguments"].as_array()) {
      for (const toml::node& item : *arguments) {
        if (auto argument = item.value<std::string>())
          plugin.default_arguments.push_back(*argument);
      }
    }
    plugin.type = (*service)["type"].value_or(std::string());
  } catch (const toml::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat(file, ", line ", error.source().begin.line, ": ",
                                                   std::string(error.description())));
  }
  return plugin;
}

}  // namespace

absl::StatusOr<Plugin> LoadPlugin(const base::Paths& paths, const std::string& name) {
  for (const std::string& parent : {paths.UserPlugins(), paths.InstalledPlugins()}) {
    const std::string folder = absl::StrCat(parent, "/", name);
    const std::string file = folder + "/config.toml";
    auto text = base::ReadFile(file, 1 << 20);
    if (absl::IsNotFound(text.status())) continue;
    RETURN_IF_ERROR(text.status());
    ASSIGN_OR_RETURN(Plugin plugin, Parse(file, *text));
    plugin.name = name;
    plugin.program = absl::StrCat(folder, "/bin/", name);
    if (::access(plugin.program.c_str(), X_OK) != 0) {
      return absl::NotFoundError(absl::StrCat("the plugin ", name,
                                              " is incomplete: ", plugin.program,
                                              " is missing; install container again"));
    }
    return plugin;
  }
  return absl::NotFoundError(absl::StrCat("the plugin ", name, " is missing from ",
                                          paths.InstalledPlugins(), ": install container again"));
}

}  // namespace container::apiserver
