// Logs of the apiserver and the helpers: one line an event, "time level program[pid] text", the
// text as a phrase and key=value pairs; the container's id on every line that is about one.
//
// Library functions never log: who handles an error logs it, once.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "spdlog/spdlog.h"

namespace container::base {

/// Directs spdlog's default logger to `file` (appended to; 0600) or, if empty, to standard error.
/// Level from $CONTAINER_LOG_LEVEL (trace, debug, info, warn, error), else info.
absl::Status InitializeLog(const std::string& program, const std::string& file);

}  // namespace container::base
