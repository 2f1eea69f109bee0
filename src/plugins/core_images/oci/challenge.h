// The Www-Authenticate header: which way a server wants to be shown who asks.
//
// Source: RFC 9110, section 11 (challenges: a scheme and its parameters, several in one header).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace container::oci {

struct Challenge {
  std::string scheme;                             // in lower case: "bearer", "basic"
  std::map<std::string, std::string> parameters;  // names in lower case, values unquoted

  friend bool operator==(const Challenge&, const Challenge&) = default;
};

/// Parses one header value; what can't be understood ends the list.
std::vector<Challenge> ParseChallenges(absl::string_view header);

}  // namespace container::oci
