#include "cli/env_file.h"

#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"

namespace container::cli {

HostEnvironment RealEnvironment() {
  return [](const std::string& key) -> std::optional<std::string> {
    const char* value = std::getenv(key.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
}

absl::StatusOr<std::optional<std::string>> ResolveEntry(absl::string_view entry,
                                                        const HostEnvironment& host) {
  const size_t equals = entry.find('=');
  const absl::string_view key = entry.substr(0, equals);
  if (key.empty() || key.find_first_of(" \t\r\n\v\f") != absl::string_view::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", entry, "' is not KEY=VALUE or KEY: the key '", key,
                     key.empty() ? "' is empty" : "' holds white space"));
  }
  if (equals != absl::string_view::npos) return std::string(entry);
  const std::optional<std::string> value = host(std::string(key));
  if (!value.has_value()) return std::nullopt;
  return absl::StrCat(key, "=", *value);
}

absl::StatusOr<std::vector<std::string>> ParseEnvFile(absl::string_view name,
                                                      absl::string_view content,
                                                      const HostEnvironment& host) {
  std::vector<std::string> entries;
  int number = 0;
  absl::ConsumePrefix(&content, "\xef\xbb\xbf");  // a byte order mark
  for (absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    absl::ConsumeSuffix(&line, "\r");
    line = absl::StripLeadingAsciiWhitespace(line);
    if (line.empty() || line[0] == '#') continue;
    ASSIGN_OR_RETURN(std::optional<std::string> entry, ResolveEntry(line, host),
                     absl::StrCat(name, ":", number));
    if (entry.has_value()) entries.push_back(*std::move(entry));
  }
  return entries;
}

absl::StatusOr<std::vector<std::string>> BuildEnvironment(const std::vector<std::string>& files,
                                                          const std::vector<std::string>& entries,
                                                          const HostEnvironment& host) {
  std::vector<std::string> environment;
  for (const std::string& file : files) {
    ASSIGN_OR_RETURN(std::string content, base::ReadFile(file), "--env-file");
    ASSIGN_OR_RETURN(std::vector<std::string> parsed, ParseEnvFile(file, content, host));
    environment.insert(environment.end(), parsed.begin(), parsed.end());
  }
  for (const std::string& text : entries) {
    ASSIGN_OR_RETURN(std::optional<std::string> entry, ResolveEntry(text, host), "--env");
    if (entry.has_value()) environment.push_back(*std::move(entry));
  }
  return environment;
}

}  // namespace container::cli
