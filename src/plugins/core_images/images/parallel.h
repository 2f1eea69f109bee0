// Tasks side by side.
#pragma once

#include <cstddef>
#include <functional>

#include "absl/status/status.h"

namespace container::images {

/// Runs task(0) to task(count - 1) in up to `threads` threads, and waits for all. Returns the first
/// error in time; `on_error` is called once, right after it, and no further task begins.
absl::Status RunParallel(size_t count, int threads, const std::function<absl::Status(size_t)>& task,
                         const std::function<void()>& on_error);

}  // namespace container::images
