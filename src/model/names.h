// The rules for what users may name things.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace container::model {

/// A container id: [a-zA-Z0-9][a-zA-Z0-9_.-]+, at most 63 characters. INVALID_ARGUMENT otherwise.
absl::Status ValidateContainerId(absl::string_view id);

/// "KEY=value" with a key that is not empty and holds no NUL.
absl::Status ValidateEnvironmentEntry(absl::string_view entry);

}  // namespace container::model
