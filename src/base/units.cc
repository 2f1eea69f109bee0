#include "base/units.h"

#include <signal.h>

#include <array>
#include <cmath>
#include <cstring>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"

namespace container::base {

absl::StatusOr<int64_t> ParseSizeBytes(absl::string_view text) {
  const auto malformed = [&] {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", text, "' is not a size: give a number and a unit of K, M, G, T or P, such as 512M"));
  };
  std::string lower = absl::AsciiStrToLower(absl::StripAsciiWhitespace(text));
  const size_t digits = lower.find_first_not_of("0123456789.");
  const std::string number = lower.substr(0, digits);
  absl::string_view unit;
  if (digits != std::string::npos)
    unit = absl::StripAsciiWhitespace(absl::string_view(lower).substr(digits));
  int shift = 0;
  if (!unit.empty() && unit != "b") {
    constexpr absl::string_view kUnits = "kmgtp";
    const size_t index = kUnits.find(unit[0]);
    const absl::string_view rest = unit.substr(1);
    if (index == absl::string_view::npos || (!rest.empty() && rest != "b" && rest != "ib")) {
      return malformed();
    }
    shift = 10 * (static_cast<int>(index) + 1);
  }
  int64_t whole = 0;
  if (absl::SimpleAtoi(number, &whole)) {
    if (whole > (INT64_MAX >> shift)) {
      return absl::InvalidArgumentError(absl::StrCat("'", text, "' is too large a size"));
    }
    return whole << shift;
  }
  double value = 0;
  if (number.empty() || !absl::SimpleAtod(number, &value)) return malformed();
  value = std::ldexp(value, shift);
  if (!(value < 9.2e18)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is too large a size"));
  }
  return static_cast<int64_t>(value);
}

std::string FormatSize(int64_t size_bytes) {
  constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  if (size_bytes < 1024) return absl::StrCat(size_bytes, " B");
  double value = static_cast<double>(size_bytes);
  size_t unit = 0;
  // 1023.95 would be printed as 1024.0.
  while (value >= 1023.95 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string FormatAge(std::chrono::system_clock::duration age) {
  const int64_t seconds = std::chrono::duration_cast<std::chrono::seconds>(age).count();
  const auto ago = [](int64_t count, const char* unit) {
    return absl::StrCat(count, " ", unit, count == 1 ? "" : "s", " ago");
  };
  if (seconds < 1) return "just now";
  if (seconds < 60) return ago(seconds, "second");
  if (seconds < 3600) return ago(seconds / 60, "minute");
  if (seconds < 48 * 3600) return ago(seconds / 3600, "hour");
  const int64_t days = seconds / 86400;
  if (days < 14) return ago(days, "day");
  if (days < 60) return ago(days / 7, "week");
  if (days < 730) return ago(days / 30, "month");
  return ago(days / 365, "year");
}

absl::StatusOr<int> ParseSignal(absl::string_view text) {
  int number = 0;
  if (absl::SimpleAtoi(text, &number)) {
    if (number >= 1 && number <= 64) return number;
  } else {
    const std::string upper = absl::AsciiStrToUpper(text);
    const absl::string_view name = absl::StripPrefix(upper, "SIG");
    for (int candidate = 1; candidate < NSIG; ++candidate) {
      const char* known = sigabbrev_np(candidate);
      if (known != nullptr && name == known) return candidate;
    }
    const absl::string_view above = absl::StripPrefix(name, "RTMIN+");
    if (name == "RTMIN") return 34;
    if (above != name && absl::SimpleAtoi(above, &number) && number >= 0 && number <= 30) {
      return 34 + number;
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", text, "' is not a signal: give a name such as SIGTERM or a number from 1 to 64"));
}

std::string FormatTimestamp(std::chrono::system_clock::time_point time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*SZ", absl::FromChrono(time), absl::UTCTimeZone());
}

absl::StatusOr<std::chrono::system_clock::time_point> ParseTimestamp(absl::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not an RFC 3339 time"));
  }
  return absl::ToChronoTime(time);
}

}  // namespace container::base
