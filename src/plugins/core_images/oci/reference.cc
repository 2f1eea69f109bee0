#include "plugins/core_images/oci/reference.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "plugins/core_images/oci/digest.h"

namespace container::oci {
namespace {

constexpr size_t kPathLimit = 255;
constexpr size_t kTagLimit = 128;
constexpr size_t kTextLimit = 4096;

bool IsLowerAlphanumeric(char c) { return absl::ascii_islower(c) || absl::ascii_isdigit(c); }

absl::Status Malformed(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("invalid image reference '", text, "': ", why));
}

// Runs of lower-case letters and digits, joined by one of "." "_" "__" or any number of "-".
bool IsPathComponent(absl::string_view component) {
  size_t at = 0;
  for (;;) {
    const size_t start = at;
    while (at < component.size() && IsLowerAlphanumeric(component[at])) ++at;
    if (at == start) return false;
    if (at == component.size()) return true;
    if (component[at] == '.') {
      ++at;
    } else if (component[at] == '_') {
      ++at;
      if (at < component.size() && component[at] == '_') ++at;
    } else if (component[at] == '-') {
      while (at < component.size() && component[at] == '-') ++at;
    } else {
      return false;
    }
  }
}

bool IsDomainName(absl::string_view host) {
  for (absl::string_view label : absl::StrSplit(host, '.')) {
    if (label.empty() || label.front() == '-' || label.back() == '-') return false;
    for (char c : label) {
      if (!absl::ascii_isalnum(c) && c != '-') return false;
    }
  }
  return true;
}

bool IsDomain(absl::string_view domain) {
  absl::string_view host = domain;
  absl::string_view rest;
  if (absl::StartsWith(domain, "[")) {
    const size_t close = domain.find(']');
    if (close == absl::string_view::npos || close < 2) return false;
    host = domain.substr(1, close - 1);
    for (char c : host) {
      if (!absl::ascii_isxdigit(c) && c != ':') return false;
    }
    rest = domain.substr(close + 1);
  } else {
    const size_t colon = domain.find(':');
    if (colon != absl::string_view::npos) {
      host = domain.substr(0, colon);
      rest = domain.substr(colon);
    }
    if (!IsDomainName(host)) return false;
  }
  if (rest.empty()) return true;
  if (rest.front() != ':' || rest.size() < 2) return false;
  rest.remove_prefix(1);
  return std::all_of(rest.begin(), rest.end(), [](char c) { return absl::ascii_isdigit(c); });
}

bool IsTag(absl::string_view tag) {
  if (tag.empty() || tag.size() > kTagLimit) return false;
  const auto is_word = [](char c) { return absl::ascii_isalnum(c) || c == '_'; };
  return is_word(tag.front()) && std::all_of(tag.begin(), tag.end(), [&](char c) {
           return is_word(c) || c == '.' || c == '-';
         });
}

bool IsHexIdentifier(absl::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

absl::StatusOr<Reference> Reference::Parse(absl::string_view text,
                                           absl::string_view default_domain) {
  if (text.empty()) return absl::InvalidArgumentError("the image reference is empty");
  if (text.size() > kTextLimit)
    return absl::InvalidArgumentError("the image reference is too long");
  if (IsHexIdentifier(text)) {
    return Malformed(text, "64 hex digits name an image's id, not a repository");
  }
  Reference result;
  absl::string_view name = text;

  if (const size_t at = name.find('@'); at != absl::string_view::npos) {
    const absl::string_view digest = name.substr(at + 1);
    if (absl::Status status = CheckDigest(digest); !status.ok()) {
      return Malformed(text, status.message());
    }
    result.digest = std::string(digest);
    name = name.substr(0, at);
  }
  // A colon after the last slash starts the tag; any other belongs to a port.
  const size_t slash = name.rfind('/');
  const size_t colon = name.rfind(':');
  if (colon != absl::string_view::npos && (slash == absl::string_view::npos || colon > slash)) {
    const absl::string_view tag = name.substr(colon + 1);
    if (!IsTag(tag)) {
      return Malformed(
          text, absl::StrCat("'", tag, "' is not a tag (letters, digits, '_', '.', '-'; at most ",
                             kTagLimit, ")"));
    }
    result.tag = std::string(tag);
    name = name.substr(0, colon);
  }
  if (name.empty()) return Malformed(text, "the repository's name is missing");

  // The first component is a domain if it can't be anything else.
  absl::string_view path = name;
  result.domain = std::string(default_domain);
  if (const size_t first = name.find('/'); first != absl::string_view::npos) {
    const absl::string_view component = name.substr(0, first);
    const bool has_upper = std::any_of(component.begin(), component.end(),
                                       [](char c) { return absl::ascii_isupper(c); });
    if (component.find_first_of(".:") != absl::string_view::npos || component == "localhost" ||
        has_upper) {
      if (!IsDomain(component)) {
        return Malformed(text, absl::StrCat("'", component, "' is not a registry's host[:port]"));
      }
      result.domain = std::string(component);
      path = name.substr(first + 1);
    }
  }
  if (result.domain == "index.docker.io") result.domain = std::string(kDefaultDomain);
  if (path.empty()) return Malformed(text, "the repository's name is missing");
  if (std::any_of(path.begin(), path.end(), [](char c) { return absl::ascii_isupper(c); })) {
    return Malformed(text, "the repository's name must be in lower case");
  }
  for (absl::string_view component : absl::StrSplit(path, '/')) {
    if (!IsPathComponent(component)) {
      return Malformed(text, absl::StrCat("'", component, "' is not a valid part of a name"));
    }
  }
  const bool is_short =
      result.domain == kDefaultDomain && path.find('/') == absl::string_view::npos;
  result.path = is_short ? absl::StrCat("library/", path) : std::string(path);
  if (result.path.size() > kPathLimit) {
    return Malformed(text, absl::StrCat("the name is longer than ", kPathLimit, " characters"));
  }
  if (result.tag.empty() && result.digest.empty()) result.tag = std::string(kDefaultTag);
  return result;
}

std::string Reference::Normalized() const {
  std::string text = Repository();
  if (!tag.empty()) absl::StrAppend(&text, ":", tag);
  if (!digest.empty()) absl::StrAppend(&text, "@", digest);
  return text;
}

std::string Reference::Familiar() const {
  std::string suffix;
  if (!tag.empty()) absl::StrAppend(&suffix, ":", tag);
  if (!digest.empty()) absl::StrAppend(&suffix, "@", digest);
  std::vector<std::string> shorter;
  if (domain == kDefaultDomain) {
    absl::string_view name = path;
    if (absl::ConsumePrefix(&name, "library/")) shorter.emplace_back(name);
    shorter.push_back(path);
  }
  // Without the domain, a path such as "a.io/b" would begin with another.
  for (const std::string& name : shorter) {
    const std::string text = name + suffix;
    const absl::StatusOr<Reference> parsed = Parse(text);
    if (parsed.ok() && *parsed == *this) return text;
  }
  return Repository() + suffix;
}

absl::StatusOr<std::string> CheckDefaultDomain(absl::string_view text) {
  const absl::StatusOr<Reference> reference = Reference::Parse(absl::StrCat(text, "/a/b:c"));
  // What the grammar takes for a part of the path ends up below docker.io.
  if (!reference.ok() || reference->path != "a/b") {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text,
                     "' can't be a default registry; expected a host with a dot or a port "
                     "(registry.example.com, host:5000), or localhost"));
  }
  return reference->domain;
}

std::string FamiliarName(absl::string_view name) {
  absl::StatusOr<Reference> reference = Reference::Parse(name);
  return reference.ok() ? reference->Familiar() : std::string(name);
}

}  // namespace container::oci
