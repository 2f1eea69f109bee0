#include "plugins/runtime_linux/tsc.h"

#include <time.h>

#include <limits>

#if defined(__x86_64__)
#include <cpuid.h>
#include <x86intrin.h>
#endif

namespace container::runtime_linux {

#if defined(__x86_64__)
namespace {

bool HasInvariantTsc() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  return __get_cpuid(0x80000007, &eax, &ebx, &ecx, &edx) != 0 && (edx & (1U << 8)) != 0;
}

}  // namespace

TscMeter::Sample TscMeter::Take() {
  // Of several readings, the one that was least disturbed.
  Sample best;
  uint64_t best_width = std::numeric_limits<uint64_t>::max();
  for (int i = 0; i < 16; ++i) {
    timespec now = {};
    const uint64_t before = __rdtsc();
    ::clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    const uint64_t after = __rdtsc();
    if (after - before >= best_width) continue;
    best_width = after - before;
    best.ticks = before + (after - before) / 2;
    best.time_ns = int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
  }
  return best;
}

std::optional<int64_t> TscMeter::FrequencyKhz() const {
  if (!HasInvariantTsc()) return std::nullopt;
  Sample end = Take();
  if (const int64_t left = begin_.time_ns + kBaselineNs - end.time_ns; left > 0) {
    const timespec pause = {0, static_cast<long>(left)};
    ::nanosleep(&pause, nullptr);
    end = Take();
  }
  const double ticks = static_cast<double>(end.ticks - begin_.ticks);
  return static_cast<int64_t>(ticks * 1e6 / static_cast<double>(end.time_ns - begin_.time_ns) +
                              0.5);
}
#else
TscMeter::Sample TscMeter::Take() { return {}; }
std::optional<int64_t> TscMeter::FrequencyKhz() const { return std::nullopt; }
#endif

}  // namespace container::runtime_linux
