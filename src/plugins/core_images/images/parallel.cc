#include "plugins/core_images/images/parallel.h"

#include <algorithm>
#include <mutex>
#include <thread>
#include <vector>

namespace container::images {

absl::Status RunParallel(size_t count, int threads, const std::function<absl::Status(size_t)>& task,
                         const std::function<void()>& on_error) {
  std::mutex mutex;
  size_t next = 0;
  absl::Status error;
  const auto work = [&] {
    for (;;) {
      size_t index = 0;
      {
        const std::lock_guard lock(mutex);
        if (next >= count || !error.ok()) return;
        index = next++;
      }
      const absl::Status status = task(index);
      if (status.ok()) continue;
      {
        const std::lock_guard lock(mutex);
        if (!error.ok()) return;
        error = status;
      }
      on_error();
    }
  };
  std::vector<std::thread> workers;
  for (size_t i = 1; i < std::min<size_t>(std::max(threads, 1), count); ++i) {
    workers.emplace_back(work);
  }
  work();
  for (std::thread& worker : workers) worker.join();
  return error;
}

}  // namespace container::images
