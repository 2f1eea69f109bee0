#include "model/run_parameters.h"

#include <arpa/inet.h>

#include <algorithm>
#include <limits>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "base/units.h"

namespace container::model {
namespace {

constexpr size_t kMaxPathBytes = 4095;
constexpr size_t kMaxLabelBytes = size_t{64} << 10;
constexpr size_t kMaxSysctlBytes = 4095;
constexpr int64_t kPageBytes = 4096;

constexpr absl::string_view kLimits[] = {
    "as",   "core",   "cpu",   "data", "fsize",  "locks",  "memlock",    "msgqueue",
    "nice", "nofile", "nproc", "rss",  "rtprio", "rttime", "sigpending", "stack",
};

// In alphabetical order.
constexpr absl::string_view kCapabilities[] = {
    "CAP_AUDIT_CONTROL",   "CAP_AUDIT_READ",   "CAP_AUDIT_WRITE",
    "CAP_BLOCK_SUSPEND",   "CAP_BPF",          "CAP_CHECKPOINT_RESTORE",
    "CAP_CHOWN",           "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",          "CAP_FSETID",       "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",       "CAP_KILL",         "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN",    "CAP_MAC_OVERRIDE",
    "CAP_MKNOD",           "CAP_NET_ADMIN",    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",   "CAP_NET_RAW",      "CAP_PERFMON",
    "CAP_SETFCAP",         "CAP_SETGID",       "CAP_SETPCAP",
    "CAP_SETUID",          "CAP_SYS_ADMIN",    "CAP_SYS_BOOT",
    "CAP_SYS_CHROOT",      "CAP_SYS_MODULE",   "CAP_SYS_NICE",
    "CAP_SYS_PACCT",       "CAP_SYS_PTRACE",   "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",    "CAP_SYS_TIME",     "CAP_SYS_TTY_CONFIG",
    "CAP_SYSLOG",          "CAP_WAKE_ALARM",
};

constexpr absl::string_view kTmpfsFlags[] = {
    "ro", "rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "noatime",
};

template <typename... Parts>
absl::Status Invalid(absl::string_view quoted, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("'", quoted.substr(0, 80), "' ", parts...));
}

bool HasControl(absl::string_view text) {
  return std::any_of(text.begin(), text.end(),
                     [](unsigned char c) { return c < ' ' || c == 0x7f; });
}

absl::StatusOr<uint64_t> ParseLimitValue(absl::string_view text, absl::string_view whole) {
  if (text == "unlimited" || text == "-1") return std::numeric_limits<uint64_t>::max();
  uint64_t value = 0;
  if (text.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(text[0])) ||
      !absl::SimpleAtoi(text, &value)) {
    return Invalid(whole, "is not a limit: write type=soft[:hard] with whole numbers or unlimited");
  }
  return value;
}

absl::Status ValidateTmpfsOption(absl::string_view option) {
  if (std::count(std::begin(kTmpfsFlags), std::end(kTmpfsFlags), option) > 0) {
    return absl::OkStatus();
  }
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(option, absl::MaxSplits('=', 1));
  const auto& [key, value] = parts;
  int64_t number = 0;
  if (key == "size") {
    absl::string_view percent = value;
    if (absl::ConsumeSuffix(&percent, "%")) {
      if (absl::SimpleAtoi(percent, &number) && number >= 1 && number <= 100) {
        return absl::OkStatus();
      }
    } else if (auto size = base::ParseSizeBytes(value); size.ok() && *size > 0) {
      return absl::OkStatus();
    }
  } else if (key == "mode") {
    const bool octal =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '7'; });
    if (octal && !value.empty() && value.size() <= 5) return absl::OkStatus();
  } else if (key == "uid" || key == "gid") {
    if (ParseId(value).ok()) return absl::OkStatus();
  } else if (key == "nr_inodes") {
    if (absl::SimpleAtoi(value, &number) && number >= 1) return absl::OkStatus();
  } else {
    return Invalid(option, "is not an option of a tmpfs");
  }
  return Invalid(option, "has no value that fits");
}

}  // namespace

absl::StatusOr<Rlimit> ParseUlimit(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos) {
    return Invalid(text, "is not a limit: write type=soft[:hard], such as nofile=1024:2048");
  }
  std::string name = absl::AsciiStrToLower(text.substr(0, equals));
  if (std::count(std::begin(kLimits), std::end(kLimits), name) == 0) {
    return Invalid(name,
                   "is not a resource limit; the limits are as, core, cpu, data, fsize, locks, "
                   "memlock, msgqueue, nice, nofile, nproc, rss, rtprio, rttime, sigpending, "
                   "stack");
  }
  const absl::string_view values = text.substr(equals + 1);
  const size_t colon = values.find(':');
  Rlimit limit;
  limit.limit = "RLIMIT_" + absl::AsciiStrToUpper(name);
  ASSIGN_OR_RETURN(limit.soft, ParseLimitValue(values.substr(0, colon), text));
  limit.hard = limit.soft;
  if (colon != absl::string_view::npos) {
    ASSIGN_OR_RETURN(limit.hard, ParseLimitValue(values.substr(colon + 1), text));
  }
  if (limit.soft > limit.hard) return Invalid(text, "has a soft limit above the hard one");
  return limit;
}

absl::StatusOr<std::string> NormalizeCapability(absl::string_view text) {
  std::string name = absl::AsciiStrToUpper(text);
  if (name == "ALL" || name == "CAP_ALL") return std::string("ALL");
  if (!absl::StartsWith(name, "CAP_")) name.insert(0, "CAP_");
  if (std::count(std::begin(kCapabilities), std::end(kCapabilities), name) == 0) {
    return Invalid(text, "is not a capability: write a name such as NET_ADMIN, or ALL");
  }
  return name;
}

std::vector<std::string> EffectiveCapabilities(const std::vector<std::string>& add,
                                               const std::vector<std::string>& drop,
                                               bool privileged) {
  const std::set<std::string> all(std::begin(kCapabilities), std::end(kCapabilities));
  const std::vector<std::string>& defaults = DefaultCapabilities();
  std::set<std::string> held =
      privileged ? all : std::set<std::string>(defaults.begin(), defaults.end());
  for (const std::string& name : drop) {
    if (name == "ALL") {
      held.clear();
    } else {
      held.erase(name);
    }
  }
  for (const std::string& name : add) {
    if (name == "ALL") {
      held = all;
    } else {
      held.insert(name);
    }
  }
  return {held.begin(), held.end()};
}

absl::Status ValidateHostname(absl::string_view hostname) {
  if (!hostname.empty() && hostname.size() <= 63) {
    bool good = true;
    for (absl::string_view label : absl::StrSplit(hostname, '.')) {
      good = good && !label.empty() && label.front() != '-' && label.back() != '-' &&
             std::all_of(label.begin(), label.end(), [](unsigned char c) {
               return absl::ascii_isalnum(c) || c == '-' || c == '_';
             });
    }
    if (good) return absl::OkStatus();
  }
  return Invalid(hostname, "is not a host name: up to 63 letters, digits, '-' and '.'");
}

absl::StatusOr<std::pair<std::string, std::string>> ParseLabel(absl::string_view text) {
  const size_t equals = text.find('=');
  const absl::string_view key = text.substr(0, equals);
  if (key.empty() || HasControl(key)) return Invalid(text, "is not a label: write key=value");
  if (text.size() > kMaxLabelBytes) return Invalid(text, "... is longer than 64 KiB");
  return std::make_pair(std::string(key), equals == absl::string_view::npos
                                              ? std::string()
                                              : std::string(text.substr(equals + 1)));
}

absl::Status ValidateSysctl(absl::string_view name, absl::string_view value) {
  bool good = name.size() <= 255 && absl::StrContains(name, '.');
  for (absl::string_view part : absl::StrSplit(name, absl::ByAnyChar("./"))) {
    good = good && !part.empty() && std::all_of(part.begin(), part.end(), [](unsigned char c) {
             return absl::ascii_isalnum(c) || c == '_' || c == '-';
           });
  }
  if (!good)
    return Invalid(name, "is not a kernel parameter: write one such as net.core.somaxconn");
  for (absl::string_view own : {"fs.", "kernel.", "net.", "user.", "vm."}) {
    if (!absl::StartsWith(name, own)) continue;
    if (value.empty() || value.size() > kMaxSysctlBytes ||
        value.find('\0') != absl::string_view::npos) {
      return Invalid(name, "has no value that can be written");
    }
    return absl::OkStatus();
  }
  return Invalid(name, "is none of fs., kernel., net., user. and vm.");
}

absl::StatusOr<std::pair<std::string, std::string>> ParseSysctl(absl::string_view text) {
  const size_t equals = text.find('=');
  if (equals == absl::string_view::npos) return Invalid(text, "has no value: write name=value");
  std::pair<std::string, std::string> sysctl(text.substr(0, equals), text.substr(equals + 1));
  RETURN_IF_ERROR(ValidateSysctl(sysctl.first, sysctl.second));
  return sysctl;
}

absl::Status ValidateContainerPath(absl::string_view path) {
  if (path.empty() || path[0] != '/' || path.size() > kMaxPathBytes || HasControl(path)) {
    return Invalid(path, "is not an absolute path");
  }
  for (absl::string_view part : absl::StrSplit(path, '/')) {
    if (part == "..") return Invalid(path, "holds '..'");
  }
  return absl::OkStatus();
}

absl::Status ValidateTmpfs(const TmpfsMount& mount) {
  RETURN_IF_ERROR(ValidateContainerPath(mount.destination));
  if (mount.destination.find_first_not_of('/') == std::string::npos) {
    return Invalid(mount.destination, "is the root, which can't be a tmpfs");
  }
  for (const std::string& option : mount.options) RETURN_IF_ERROR(ValidateTmpfsOption(option));
  return absl::OkStatus();
}

absl::StatusOr<TmpfsMount> ParseTmpfs(absl::string_view text) {
  const size_t colon = text.find(':');
  TmpfsMount mount;
  mount.destination = std::string(text.substr(0, colon));
  if (colon != absl::string_view::npos) {
    mount.options = absl::StrSplit(text.substr(colon + 1), ',');
  }
  RETURN_IF_ERROR(ValidateTmpfs(mount));
  return mount;
}

absl::Status ValidateHostEntry(const HostEntry& entry) {
  RETURN_IF_ERROR(ValidateHostname(entry.name));
  unsigned char buffer[sizeof(in6_addr)];
  if (::inet_pton(AF_INET, entry.address.c_str(), buffer) == 1 ||
      ::inet_pton(AF_INET6, entry.address.c_str(), buffer) == 1) {
    return absl::OkStatus();
  }
  return Invalid(entry.address, "is not an IP address");
}

absl::StatusOr<HostEntry> ParseHostEntry(absl::string_view text) {
  const size_t colon = text.find(':');
  if (colon == absl::string_view::npos) return Invalid(text, "has no address: write name:address");
  HostEntry entry;
  entry.name = std::string(text.substr(0, colon));
  absl::string_view address = text.substr(colon + 1);
  if (absl::StartsWith(address, "[") && absl::EndsWith(address, "]")) {
    address = address.substr(1, address.size() - 2);
  }
  entry.address = std::string(address);
  RETURN_IF_ERROR(ValidateHostEntry(entry));
  return entry;
}

std::vector<std::string> ExtendPaths(std::vector<std::string> defaults,
                                     const std::vector<std::string>& given) {
  for (const std::string& path : given) {
    if (path == "NONE") {
      defaults.clear();
    } else {
      defaults.push_back(path);
    }
  }
  return defaults;
}

absl::StatusOr<uint32_t> ParseId(absl::string_view text) {
  uint32_t id = 0;
  const bool digits = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return absl::ascii_isdigit(c);
  });
  if (!digits || !absl::SimpleAtoi(text, &id) || id == std::numeric_limits<uint32_t>::max()) {
    return Invalid(text, "is not an id: a whole number from 0 to 4294967294");
  }
  return id;
}

absl::Status ValidateShmSize(int64_t bytes) {
  if (bytes >= kPageBytes) return absl::OkStatus();
  return absl::InvalidArgumentError("/dev/shm needs at least 4096 bytes");
}

}  // namespace container::model
