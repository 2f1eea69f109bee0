// The frequency of the host's time stamp counter.
//
// Under TCG the guest's counter is the host's, and the guest has no good clock to measure it by:
// told the frequency, it boots 0.6 s sooner and has high-resolution timers.
#pragma once

#include <cstdint>
#include <optional>

namespace container::runtime_linux {

/// Measures from its construction on, against CLOCK_MONOTONIC_RAW: make it early, ask late.
class TscMeter {
 public:
  TscMeter() : begin_(Take()) {}

  /// In kHz; nothing if this host's counter does not run at a constant rate. Waits until
  /// kBaselineNs have gone by since the construction; right to some 5 parts in a million.
  std::optional<int64_t> FrequencyKhz() const;

  static constexpr int64_t kBaselineNs = 8'000'000;

 private:
  struct Sample {
    uint64_t ticks = 0;
    int64_t time_ns = 0;
  };
  static Sample Take();
  Sample begin_;
};

}  // namespace container::runtime_linux
