#include "plugins/core_images/oci/platform.h"

#include <sys/utsname.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace container::oci {
namespace {

constexpr std::array<absl::string_view, 14> kSystems = {
    "aix", "android", "darwin", "dragonfly", "freebsd", "illumos", "ios",
    "js",  "linux",   "netbsd", "openbsd",   "plan9",   "solaris", "windows"};
constexpr std::array<absl::string_view, 17> kArchitectures = {
    "386",   "amd64",   "arm",   "arm64",   "loong64", "mips",  "mipsle",  "mips64", "mips64le",
    "ppc64", "ppc64le", "riscv", "riscv64", "s390",    "s390x", "sparc64", "wasm"};

template <typename Array>
bool Contains(const Array& array, absl::string_view text) {
  return std::find(array.begin(), array.end(), text) != array.end();
}

bool IsWord(absl::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isalnum(c) || c == '_' || c == '.' || c == '-';
  });
}

// "v3" -> 3; 0 if it is not of that form.
int Level(absl::string_view variant) {
  int level = 0;
  if (variant.size() < 2 || variant[0] != 'v' || !absl::SimpleAtoi(variant.substr(1), &level)) {
    return 0;
  }
  return level > 0 && level < 100 ? level : 0;
}

}  // namespace

Platform Platform::Normalized() const {
  Platform result = {absl::AsciiStrToLower(os), absl::AsciiStrToLower(architecture),
                     absl::AsciiStrToLower(variant)};
  if (result.os == "macos") result.os = "darwin";
  std::string& arch = result.architecture;
  std::string& level = result.variant;
  if (arch == "i386" || arch == "i686") {
    arch = "386";
    level.clear();
  } else if (arch == "x86_64" || arch == "x86-64" || arch == "amd64") {
    arch = "amd64";
    if (level == "v1") level.clear();
  } else if (arch == "aarch64" || arch == "arm64") {
    arch = "arm64";
    if (level.empty() || level == "8") level = "v8";
  } else if (arch == "armhf") {
    arch = "arm";
    level = "v7";
  } else if (arch == "armel") {
    arch = "arm";
    level = "v6";
  } else if (arch == "armv7l") {
    arch = "arm";
    level = "v7";
  } else if (arch == "arm") {
    if (level.empty() || level == "7") level = "v7";
    if (level == "5" || level == "6" || level == "8") level = absl::StrCat("v", level);
  }
  return result;
}

absl::StatusOr<Platform> Platform::Parse(absl::string_view text) {
  const std::vector<std::string> parts = absl::StrSplit(text, '/');
  const auto malformed = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("invalid platform '", text, "': ", why, " (such as linux/arm64)"));
  };
  if (parts.size() > 3) return malformed("expected os/arch[/variant]");
  for (const std::string& part : parts) {
    if (!IsWord(part)) return malformed("expected os/arch[/variant]");
  }
  if (parts.size() == 1) {
    Platform only = Platform{parts[0], parts[0], ""}.Normalized();
    const Platform host = Host();
    if (Contains(kSystems, only.os)) {
      return Platform{only.os, host.architecture, host.variant};
    }
    if (Contains(kArchitectures, only.architecture)) {
      return Platform{host.os, only.architecture, only.variant};
    }
    return malformed("neither an operating system nor an architecture");
  }
  return Platform{parts[0], parts[1], parts.size() == 3 ? parts[2] : ""}.Normalized();
}

Platform Platform::Host() {
  struct utsname name;
  ::uname(&name);
  return Platform{"linux", name.machine, ""}.Normalized();
}

std::string Platform::ToString() const {
  std::string text = absl::StrCat(os, "/", architecture);
  if (!variant.empty()) absl::StrAppend(&text, "/", variant);
  return text;
}

std::vector<Platform> PlatformsRunBy(const Platform& wanted) {
  const Platform base = wanted.Normalized();
  std::vector<Platform> result = {base};
  const auto add = [&](absl::string_view architecture, absl::string_view variant) {
    result.push_back({base.os, std::string(architecture), std::string(variant)});
  };
  if (base.architecture == "amd64") {
    for (int level = Level(base.variant) - 1; level > 1; --level) {
      add("amd64", absl::StrCat("v", level));
    }
    if (!base.variant.empty()) add("amd64", "");
    add("386", "");
  } else if (base.architecture == "arm64") {
    for (int level = Level(base.variant) - 1; level >= 8; --level) {
      add("arm64", absl::StrCat("v", level));
    }
    for (int level = 8; level >= 5; --level) add("arm", absl::StrCat("v", level));
  } else if (base.architecture == "arm") {
    for (int level = Level(base.variant) - 1; level >= 5; --level) {
      add("arm", absl::StrCat("v", level));
    }
  }
  return result;
}

int BestMatch(const Platform& wanted, const std::vector<Platform>& offered) {
  for (const Platform& candidate : PlatformsRunBy(wanted)) {
    for (size_t i = 0; i < offered.size(); ++i) {
      if (offered[i].Normalized() == candidate) return static_cast<int>(i);
    }
  }
  return -1;
}

}  // namespace container::oci
