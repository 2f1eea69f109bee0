// Commands that do one thing to several containers or images.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "cli/client.h"
#include "cli/options.h"

namespace container::cli {

/// Does `action` to each id and prints the ids it was done to, each as soon as it is. Reports each
/// error and goes on; 1 if there was one.
int ForEach(const std::vector<std::string>& ids,
            const std::function<absl::Status(const std::string& id)>& action);

/// The ids of all containers, or, without `stopped_too`, of those that run.
absl::StatusOr<std::vector<std::string>> ContainerIds(Client& client, bool stopped_too);

/// For commands that take ids or --all: the exit code of wrong usage, or nothing.
std::optional<int> CheckIdsOrAll(const OptionParser& parser, const std::vector<std::string>& ids,
                                 bool all);

}  // namespace container::cli
