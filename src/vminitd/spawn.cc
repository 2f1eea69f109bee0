#include "vminitd/spawn.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <vector>

#include "base/fd.h"
#include "vminitd/capabilities.h"

namespace container::vminitd {

namespace {

// What the child reads and writes. It lives in the parent's frame, which waits.
struct Child {
  const SpawnOptions* options;
  char* const* arguments;
  char* const* environment;
  const char* const* candidates;
  SpawnResult* result;
  int report = -1;  // of an init: where its result goes, as its memory is not the parent's
};

// glibc's own setresuid and friends would change every thread of this program, whose memory the
// child shares: only plain system calls do here.
long Call(long number, long a = 0, long b = 0, long c = 0) { return ::syscall(number, a, b, c); }

void Report(const Child& child) {
  // If the parent does not hear it, it finds the pipe at its end.
  const ssize_t written = ::write(child.report, child.result, sizeof *child.result);
  static_cast<void>(written);
}

[[noreturn]] void Fail(const Child& child, const char* step) {
  child.result->error_number = errno;
  child.result->failed_step = step;
  if (child.report >= 0) Report(child);
  ::_exit(127);
}

void Mask(const Child& child, const char* path) {
  if (::mount("/dev/null", path, nullptr, MS_BIND, nullptr) == 0 || errno == ENOENT) return;
  if (errno != ENOTDIR) Fail(child, path);
  if (::mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k") != 0) Fail(child, path);
}

void MakeReadOnly(const Child& child, const char* path) {
  if (::mount(path, path, nullptr, MS_BIND | MS_REC, nullptr) != 0) {
    if (errno == ENOENT) return;
    Fail(child, path);
  }
  struct statfs info {};
  if (::statfs(path, &info) != 0) Fail(child, path);
  // The other flags of the mount stay as they are; those of statfs(2) have mount(2)'s numbers.
  const unsigned long kept =
      static_cast<unsigned long>(info.f_flags) & (MS_NOSUID | MS_NODEV | MS_NOEXEC);
  if (::mount(path, path, nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY | kept, nullptr) != 0) {
    Fail(child, path);
  }
}

// A proc file system shows the pid namespace of who mounts it, a cgroup2 one the cgroup namespace.
void MountNamespaceViews(const Child& child) {
  constexpr unsigned long kFlags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::unshare(CLONE_NEWCGROUP) != 0) Fail(child, "unshare the cgroup namespace");
  if (::mount("proc", "/proc", "proc", kFlags, nullptr) != 0) Fail(child, "mount /proc");
  const NamespaceViews& views = *child.options->views;
  const unsigned long cgroup_flags =
      kFlags | MS_RELATIME | (views.writable_cgroups ? 0UL : static_cast<unsigned long>(MS_RDONLY));
  if (::mount("cgroup", "/sys/fs/cgroup", "cgroup2", cgroup_flags, nullptr) != 0) {
    Fail(child, "mount /sys/fs/cgroup");
  }
  for (const std::string& path : views.read_only_paths) MakeReadOnly(child, path.c_str());
  for (const std::string& path : views.masked_paths) Mask(child, path.c_str());
  if (views.read_only_root &&
      ::mount(nullptr, "/", nullptr, MS_BIND | MS_REMOUNT | MS_RDONLY, nullptr) != 0) {
    Fail(child, "make the root read-only");
  }
}

void BecomeUser(const Child& child) {
  const ProcessPlan& plan = *child.options->plan;
  for (int capability = 0; capability < kCapabilityCount; ++capability) {
    if ((plan.capabilities >> capability & 1) != 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0 && errno != EINVAL) {
      Fail(child, "drop a capability");
    }
  }
  const User& user = plan.user;
  if (Call(SYS_setgroups, static_cast<long>(user.groups.size()),
           reinterpret_cast<long>(user.groups.data())) != 0) {
    Fail(child, "setgroups");
  }
  if (Call(SYS_setresgid, user.gid, user.gid, user.gid) != 0) Fail(child, "setresgid");
  if (Call(SYS_setresuid, user.uid, user.uid, user.uid) != 0) Fail(child, "setresuid");
  if (plan.no_new_privileges && ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    Fail(child, "set no_new_privs");
  }
  // Leaving uid 0 has cleared the sets already; execve computes root's anew from the bounding set.
  const uint64_t mask = user.uid == 0 ? plan.capabilities : 0;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (int word = 0; word < 2; ++word) {
    data[word].permitted = data[word].effective = static_cast<uint32_t>(mask >> (32 * word));
  }
  if (Call(SYS_capset, reinterpret_cast<long>(&header), reinterpret_cast<long>(data)) != 0) {
    Fail(child, "capset");
  }
}

void ResetSignals() {
  // Plain system calls again: glibc hides its two internal signals from sigaction(2).
  struct {
    void (*handler)(int);
    unsigned long flags;
    void (*restorer)();
    uint64_t mask;
  } const action{SIG_DFL, 0, nullptr, 0};
  for (int number = 1; number <= 64; ++number) {
    ::syscall(SYS_rt_sigaction, number, &action, nullptr, sizeof action.mask);
  }
  const uint64_t none = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &none, nullptr, sizeof none);
}

void TakeStandardStreams(const Child& child) {
  // None of the three is below 3: this program keeps 0 to 2 open on /dev/null.
  const SpawnOptions& options = *child.options;
  if (::dup2(options.standard_input, 0) < 0 || ::dup2(options.standard_output, 1) < 0 ||
      ::dup2(options.standard_error, 2) < 0) {
    Fail(child, "dup2");
  }
  if (options.plan->terminal && ::ioctl(0, TIOCSCTTY, 0) != 0) {
    Fail(child, "set the controlling terminal");
  }
  if (Call(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) != 0) Fail(child, "close_range");
}

// execve(2) of each candidate, as execvpe(3) does, but with no shell for what isn't a program.
void Execute(const Child& child) {
  int error_number = ENOENT;
  for (const char* const* path = child.candidates; *path != nullptr; ++path) {
    ::execve(*path, child.arguments, child.environment);
    const int failure = errno;
    struct stat info;
    const bool exists = ::stat(*path, &info) == 0;
    if (exists) child.result->file_exists = true;
    if (failure == EACCES && exists && S_ISDIR(info.st_mode)) {
      if (error_number == ENOENT && !child.options->plan->searched) error_number = EISDIR;
      continue;
    }
    if (failure == ENOENT && !exists) continue;
    // In a search, a prefix that is a file, or one that may not be searched, is passed over.
    if (child.options->plan->searched && failure == ENOTDIR) continue;
    error_number = failure;
    if (failure != EACCES) break;
  }
  errno = error_number;
  Fail(child, nullptr);
}

[[noreturn, gnu::noinline]] void RunChild(const Child& child) {
  const SpawnOptions& options = *child.options;
  const ProcessPlan& plan = *options.plan;
  ResetSignals();
  if (::setsid() < 0) Fail(child, "setsid");
  if (options.first) {
    MountNamespaceViews(child);
  } else if (options.cgroup_namespace >= 0 &&
             ::setns(options.cgroup_namespace, CLONE_NEWCGROUP) != 0) {
    Fail(child, "join the cgroup namespace");
  }
  TakeStandardStreams(child);
  for (const ResourceLimit& limit : plan.limits) {
    if (::setrlimit(static_cast<__rlimit_resource>(limit.resource), &limit.value) != 0) {
      Fail(child, limit.name.c_str());
    }
  }
  ::umask(022);
  if (::chdir(plan.working_directory.c_str()) != 0) {
    Fail(child, plan.working_directory.c_str());
  }
  BecomeUser(child);
  Execute(child);
  __builtin_unreachable();
}

long CloneAndRun(const clone_args& arguments, const Child& child);

constexpr uint64_t kAllSignals = ~uint64_t{0};

/// Reaps until the program ends. What reaches it here is passed on, as tini does it.
[[noreturn]] void ServeAsInit(pid_t program) {
  for (;;) {
    siginfo_t signal{};
    const long number =
        ::syscall(SYS_rt_sigtimedwait, &kAllSignals, &signal, nullptr, sizeof kAllSignals);
    if (number < 0) continue;
    if (number != SIGCHLD) {
      ::kill(program, static_cast<int>(number));
      continue;
    }
    for (;;) {
      int status = 0;
      const pid_t pid = ::waitpid(-1, &status, WNOHANG);
      if (pid <= 0) break;
      // With this process the kernel ends all others of the pid namespace.
      if (pid == program) {
        ::_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
      }
    }
  }
}

/// An init has no use for any right but to signal; and it is a copy of this program, whose memory
/// is not for the container's eyes.
bool GiveUpRights() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  data[0].permitted = data[0].effective = 1U << CAP_KILL;
  return ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0 &&
         Call(SYS_capset, reinterpret_cast<long>(&header), reinterpret_cast<long>(data)) == 0;
}

// The container's PID 1 where it has an init: a process with a copy of this program's memory, in
// which nothing of the C++ library may be called, for other threads' locks were copied, too.
[[noreturn, gnu::noinline]] void RunInit(const Child& child) {
  // Signals wait in the mask; with the default dispositions, as an ignored one would not wait.
  ResetSignals();
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, nullptr, sizeof kAllSignals);
  ::prctl(PR_SET_NAME, "init", 0, 0, 0);
  if (::setsid() < 0) Fail(child, "setsid");
  // Here, so that the program and further ones find them.
  MountNamespaceViews(child);

  SpawnOptions options = *child.options;
  options.first = false;
  options.cgroup_namespace = -1;
  const Child program{&options,         child.arguments, child.environment,
                      child.candidates, child.result,    -1};
  clone_args clone{};
  clone.flags = CLONE_VM | CLONE_VFORK;
  clone.exit_signal = SIGCHLD;
  const long pid = CloneAndRun(clone, program);
  if (pid < 0) {
    errno = static_cast<int>(-pid);
    Fail(child, "clone3");
  }
  if (child.result->error_number == 0 && !GiveUpRights()) Fail(child, "capset of the init");
  Report(child);
  if (child.result->error_number != 0) ::_exit(127);
  // Whoever holds the standard streams keeps their readers waiting.
  Call(SYS_close_range, 0, ~0U, 0);
  ServeAsInit(static_cast<pid_t>(pid));
}

// The child runs on the parent's stack, below this frame, and never returns from here, so that the
// frame is the parent's when it goes on.
[[gnu::noinline]] long CloneAndRun(const clone_args& arguments, const Child& child) {
#if defined(__x86_64__)
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "0"(SYS_clone3), "D"(&arguments), "S"(sizeof arguments)
               : "rcx", "r11", "memory");
  if (result == 0) {
    if (child.report >= 0) RunInit(child);
    RunChild(child);
  }
  return result;
#else
#error "clone3 without a stack of its own needs a few lines of assembly for this processor"
#endif
}

template <typename Pointer>
std::vector<Pointer> Pointers(const std::vector<std::string>& strings) {
  std::vector<Pointer> pointers;
  pointers.reserve(strings.size() + 1);
  for (const std::string& string : strings) pointers.push_back(const_cast<Pointer>(string.data()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

SpawnResult Spawn(const SpawnOptions& options) {
  const auto arguments = Pointers<char*>(options.plan->arguments);
  const auto environment = Pointers<char*>(options.plan->environment);
  const auto candidates = Pointers<const char*>(options.plan->candidates);
  SpawnResult result;
  Child child{&options, arguments.data(), environment.data(), candidates.data(), &result, -1};
  base::FdPair report;
  clone_args clone{};
  clone.exit_signal = SIGCHLD;
  if (options.first && options.use_init) {
    absl::StatusOr<base::FdPair> pipe = base::MakePipe();
    if (!pipe.ok()) {
      result.error_number = EMFILE;
      result.failed_step = "pipe";
      return result;
    }
    report = *std::move(pipe);
    child.report = report.second.get();
  } else {
    clone.flags = CLONE_VM | CLONE_VFORK;
  }
  if (options.cgroup >= 0) {
    clone.flags |= CLONE_INTO_CGROUP;
    clone.cgroup = static_cast<uint64_t>(options.cgroup);
  }
  // No handler may run in the child before it has reset them all.
  uint64_t before = 0;
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &kAllSignals, &before, sizeof kAllSignals);
  const long pid = CloneAndRun(clone, child);
  ::syscall(SYS_rt_sigprocmask, SIG_SETMASK, &before, nullptr, sizeof before);
  if (pid < 0) {
    result.error_number = static_cast<int>(-pid);
    result.failed_step = "clone3";
  } else if (child.report >= 0) {
    // Less than a pipe's atomic size, so that it comes whole or not at all. What it points to is at
    // the same addresses here.
    report.second.Reset();
    ssize_t count = 0;
    do {
      count = ::read(report.first.get(), &result, sizeof result);
    } while (count < 0 && errno == EINTR);
    if (count != static_cast<ssize_t>(sizeof result)) {
      result.error_number = ECHILD;
      result.failed_step = "the init has ended";
    }
  }
  result.pid = static_cast<pid_t>(std::max(pid, 0L));
  return result;
}

}  // namespace container::vminitd
