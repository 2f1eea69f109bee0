// What `--version` of every program says.
#pragma once

#include "absl/strings/string_view.h"

namespace container::base {

/// "0.1.0"
extern const absl::string_view kVersion;
/// Abbreviated commit the build was configured from, or "unknown".
extern const absl::string_view kCommit;

}  // namespace container::base
