// The environment that -e and --env-file describe.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::cli {

/// The value of a variable of this program's own environment, or nothing.
using HostEnvironment = std::function<std::optional<std::string>(const std::string& key)>;
HostEnvironment RealEnvironment();

/// "KEY=value" as it is; "KEY" with the host's value, or nothing where the host has none.
/// INVALID_ARGUMENT if the key is empty or holds white space.
absl::StatusOr<std::optional<std::string>> ResolveEntry(absl::string_view entry,
                                                        const HostEnvironment& host);

/// Lines as ResolveEntry takes them; blank ones and those that begin with '#' are skipped, white
/// space before the key too. Values are taken literally. The error names `name` and the line.
absl::StatusOr<std::vector<std::string>> ParseEnvFile(absl::string_view name,
                                                      absl::string_view content,
                                                      const HostEnvironment& host);

/// The entries of the files in order, then `entries`.
absl::StatusOr<std::vector<std::string>> BuildEnvironment(const std::vector<std::string>& files,
                                                          const std::vector<std::string>& entries,
                                                          const HostEnvironment& host);

}  // namespace container::cli
