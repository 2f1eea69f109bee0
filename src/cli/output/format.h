// The formats of lists: a table, or the objects themselves as JSON, YAML or TOML.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json_fwd.hpp"

namespace container::cli {

enum class Format { kTable, kJson, kYaml, kToml };

/// "table", "json", "yaml" or "toml"; INVALID_ARGUMENT otherwise.
absl::StatusOr<Format> ParseFormat(absl::string_view text);

/// An array or object in a format that is not the table. TOML has no array at the top: an array is
/// put under `plural` ("containers"), and nulls are left out. Ends with a newline.
std::string FormatJson(const nlohmann::ordered_json& value);
std::string FormatYaml(const nlohmann::ordered_json& value);
std::string FormatToml(const nlohmann::ordered_json& value, absl::string_view plural);
std::string FormatAs(Format format, const nlohmann::ordered_json& value, absl::string_view plural);

}  // namespace container::cli
