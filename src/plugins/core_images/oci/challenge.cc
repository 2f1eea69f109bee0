#include "plugins/core_images/oci/challenge.h"

#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"

namespace container::oci {
namespace {

bool IsTokenCharacter(char c) {
  return absl::ascii_isalnum(c) || absl::StrContains("!#$%&'*+-.^_`|~", absl::string_view(&c, 1));
}

class Scanner {
 public:
  explicit Scanner(absl::string_view text) : text_(text) {}

  bool AtEnd() const { return text_.empty(); }

  void SkipBlanks() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\t')) text_.remove_prefix(1);
  }
  // Blanks and the commas between list elements.
  void SkipSeparators() {
    while (!text_.empty() && (text_[0] == ' ' || text_[0] == '\t' || text_[0] == ',')) {
      text_.remove_prefix(1);
    }
  }
  bool Take(char c) {
    if (text_.empty() || text_[0] != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  absl::string_view Token() {
    size_t size = 0;
    while (size < text_.size() && IsTokenCharacter(text_[size])) ++size;
    const absl::string_view token = text_.substr(0, size);
    text_.remove_prefix(size);
    return token;
  }
  std::optional<std::string> Value() {
    if (!Take('"')) {
      const absl::string_view token = Token();
      if (token.empty()) return std::nullopt;
      return std::string(token);
    }
    std::string value;
    while (!text_.empty()) {
      char c = text_[0];
      text_.remove_prefix(1);
      if (c == '"') return value;
      if (c == '\\') {
        if (text_.empty()) return std::nullopt;
        c = text_[0];
        text_.remove_prefix(1);
      }
      value.push_back(c);
    }
    return std::nullopt;
  }

 private:
  absl::string_view text_;
};

}  // namespace

std::vector<Challenge> ParseChallenges(absl::string_view header) {
  std::vector<Challenge> result;
  Scanner scanner(header);
  for (;;) {
    scanner.SkipSeparators();
    if (scanner.AtEnd()) return result;
    const absl::string_view word = scanner.Token();
    if (word.empty()) return result;
    scanner.SkipBlanks();
    // A word before "=" is a parameter of the scheme before it; any other is a scheme.
    if (!scanner.Take('=')) {
      result.push_back({absl::AsciiStrToLower(word), {}});
      continue;
    }
    scanner.SkipBlanks();
    std::optional<std::string> value = scanner.Value();
    if (!value.has_value() || result.empty()) return result;
    result.back().parameters.emplace(absl::AsciiStrToLower(word), *std::move(value));
  }
}

}  // namespace container::oci
