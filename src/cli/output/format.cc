#include "cli/output/format.h"

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "yaml-cpp/yaml.h"

namespace container::cli {
namespace {

using Json = nlohmann::ordered_json;

/// Whether a YAML reader of any version takes the bare word for this very string. Digits first
/// could be a number or a date.
bool IsPlainYaml(const std::string& text) {
  if (text.empty()) return false;
  for (const char* word : {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}) {
    if (strcasecmp(text.c_str(), word) == 0) return false;
  }
  const auto letter = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); };
  if (!letter(text[0]) && text[0] != '/') return false;
  for (char c : text) {
    const bool digit = c >= '0' && c <= '9';
    if (!letter(c) && !digit && c != '/' && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

void EmitYaml(YAML::Emitter& out, const Json& value) {
  switch (value.type()) {
    case Json::value_t::object:
      if (value.empty()) out << YAML::Flow;
      out << YAML::BeginMap;
      for (const auto& [key, member] : value.items()) {
        out << YAML::Key;
        EmitYaml(out, key);
        out << YAML::Value;
        EmitYaml(out, member);
      }
      out << YAML::EndMap;
      return;
    case Json::value_t::array:
      if (value.empty()) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const Json& item : value) EmitYaml(out, item);
      out << YAML::EndSeq;
      return;
    case Json::value_t::string: {
      const auto& text = value.get_ref<const std::string&>();
      if (!IsPlainYaml(text)) out << YAML::DoubleQuoted;
      out << text;
      return;
    }
    case Json::value_t::boolean:
      out << value.get<bool>();
      return;
    case Json::value_t::null:
      out << YAML::Null;
      return;
    default:
      // Numbers are spelled as in JSON.
      out << value.dump();
  }
}

}  // namespace

absl::StatusOr<Format> ParseFormat(absl::string_view text) {
  if (text == "table") return Format::kTable;
  if (text == "json") return Format::kJson;
  if (text == "yaml") return Format::kYaml;
  if (text == "toml") return Format::kToml;
  return absl::InvalidArgumentError(
      absl::StrCat("'", text, "' is not a format: table, json, yaml or toml"));
}

std::string FormatJson(const Json& value) {
  return value.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string FormatYaml(const Json& value) {
  YAML::Emitter out;
  EmitYaml(out, value);
  return std::string(out.c_str()) + "\n";
}

std::string FormatAs(Format format, const Json& value, absl::string_view plural) {
  if (format == Format::kYaml) return FormatYaml(value);
  if (format == Format::kToml) return FormatToml(value, plural);
  return FormatJson(value);
}

}  // namespace container::cli
