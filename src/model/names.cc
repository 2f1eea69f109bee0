#include "model/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace container::model {

absl::Status ValidateContainerId(absl::string_view id) {
  constexpr size_t kLongest = 63;
  const auto allowed = [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
  };
  if (id.size() >= 2 && id.size() <= kLongest && absl::ascii_isalnum(id[0]) &&
      std::all_of(id.begin(), id.end(), allowed)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'", id.substr(0, 80),
                   "' is not a container name: use 2 to 63 letters, digits, '_', '.' and '-', the "
                   "first a letter or digit"));
}

absl::Status ValidateEnvironmentEntry(absl::string_view entry) {
  const size_t equals = entry.find('=');
  if (equals == absl::string_view::npos || equals == 0 ||
      entry.find('\0') != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", entry.substr(0, 80), "' is not an environment variable: write KEY=value"));
  }
  return absl::OkStatus();
}

}  // namespace container::model
