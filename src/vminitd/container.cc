#include "vminitd/container.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <iterator>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/status.h"
#include "model/default_paths.h"
#include "vminitd/bounds.h"
#include "vminitd/guest_log.h"

namespace container::vminitd {
namespace {

using base::ErrnoStatus;
using base::Fd;
using base::FdPair;

constexpr char kCgroupFolder[] = "container";

absl::Status MakeFolderAt(int folder, const char* path) {
  if (::mkdirat(folder, path, 0755) != 0 && errno != EEXIST) {
    return ErrnoStatus(absl::StrCat("mkdir ", path));
  }
  return absl::OkStatus();
}

// Content of a file of the container's, which may be anything: a pipe that never ends, a link, a
// device. Empty if there is no such regular file.
absl::StatusOr<std::string> ReadUserDatabase(const char* path) {
  Fd fd(::open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  struct stat info;
  if (!fd || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return std::string();
  // The size is only a first guess, as files of some kinds have none. A buffer of much more than
  // the usual kilobyte would cost an emulated machine milliseconds to clear.
  std::string content(static_cast<size_t>(std::min<off_t>(info.st_size, kMaxUserDatabaseBytes)) + 1,
                      '\0');
  size_t used = 0;
  for (;;) {
    if (used == content.size()) content.resize(2 * used);
    if (used > kMaxUserDatabaseBytes) {
      return absl::ResourceExhaustedError(absl::StrCat(path, " is too large"));
    }
    ASSIGN_OR_RETURN(size_t count, base::ReadSome(fd.get(), std::span(content).subspan(used)),
                     path);
    if (count == 0) break;
    used += count;
  }
  content.resize(used);
  return content;
}

std::string NewScratchFolder() {
  static std::atomic<int> count = 0;
  return absl::StrCat("/run/container-", ++count);
}

}  // namespace

Container::Container(RootDisks disks) : disks_(std::move(disks)), thread_([this] { Run(); }) {}

Container::~Container() {
  Post(nullptr);
  thread_.join();
}

void Container::Post(std::function<void()> job) {
  {
    std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  wake_.notify_one();
}

void Container::Create(v1::CreateContainerRequest request, CreateDone done) {
  Post([this, request = std::move(request), done = std::move(done)] {
    created_ = prepared_.ok() ? CreateNow(request) : prepared_;
    done(created_);
  });
}

void Container::Start(const v1::ProcessSpec& spec, bool process_is_first, StartDone done) {
  Post([this, &spec, process_is_first, done = std::move(done)] {
    done(StartNow(spec, process_is_first));
  });
}

void Container::Run() {
  prepared_ = Prepare();
  for (;;) {
    std::function<void()> job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return !jobs_.empty(); });
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    if (!job) break;
    job();
  }
  // Whoever leaves a mount namespace last unmounts all that is in it before the call returns: the
  // writable layer is then clean on the disk.
  if (outer_mounts_) ::setns(outer_mounts_.get(), CLONE_NEWNS);
}

absl::Status Container::Prepare() {
  ASSIGN_OR_RETURN(outer_mounts_, base::Open("/proc/self/ns/mnt", O_RDONLY));
  ASSIGN_OR_RETURN(cgroup_root_, base::Open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(proc_, base::Open("/proc", O_RDONLY | O_DIRECTORY));
  ASSIGN_OR_RETURN(devices_, base::Open("/dev", O_RDONLY | O_DIRECTORY));
  if (::unshare(CLONE_FS | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID) != 0) {
    return ErrnoStatus("unshare");
  }
  return EnterRoot(disks_, NewScratchFolder());
}

absl::Status Container::CreateNow(const v1::CreateContainerRequest& request) {
  const std::string path = absl::StrCat(kCgroupFolder, "/", request.container_id());
  RETURN_IF_ERROR(MakeFolderAt(cgroup_root_.get(), kCgroupFolder));
  RETURN_IF_ERROR(MakeFolderAt(cgroup_root_.get(), path.c_str()));
  cgroup_.Reset(::openat(cgroup_root_.get(), path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!cgroup_) return ErrnoStatus("open the cgroup");
  const std::string& hostname = request.hostname();
  if (::sethostname(hostname.data(), hostname.size()) != 0) return ErrnoStatus("sethostname");
  RETURN_IF_ERROR(WriteHostFiles(request));
  RETURN_IF_ERROR(SetSysctls(request));
  if (request.shm_size_bytes() > 0) RETURN_IF_ERROR(ResizeShm(request.shm_size_bytes()));
  if (request.privileged()) RETURN_IF_ERROR(OpenToPrivileged(devices_.get()));
  for (const v1::Tmpfs& tmpfs : request.tmpfs()) RETURN_IF_ERROR(MountTmpfs(tmpfs));

  use_init_ = request.use_init();
  views_.read_only_root = request.root().read_only();
  views_.writable_cgroups = request.privileged();
  if (request.has_masked_paths()) {
    views_.masked_paths.assign(request.masked_paths().paths().begin(),
                               request.masked_paths().paths().end());
  } else if (!request.privileged()) {
    views_.masked_paths.assign(std::begin(model::kDefaultMaskedPaths),
                               std::end(model::kDefaultMaskedPaths));
  }
  if (request.has_read_only_paths()) {
    views_.read_only_paths.assign(request.read_only_paths().paths().begin(),
                                  request.read_only_paths().paths().end());
  } else if (!request.privileged()) {
    views_.read_only_paths.assign(std::begin(model::kDefaultReadOnlyPaths),
                                  std::end(model::kDefaultReadOnlyPaths));
  }
  return absl::OkStatus();
}

absl::Status Container::SetSysctls(const v1::CreateContainerRequest& request) {
  for (const v1::Sysctl& sysctl : request.sysctls()) {
    if (absl::StrContains(sysctl.name(), "..")) {
      return absl::InvalidArgumentError(absl::StrCat("sysctl ", sysctl.name(), ": no such name"));
    }
    // A slash in a name stands for a dot in a file's.
    const std::string path =
        absl::StrCat("sys/", absl::StrReplaceAll(sysctl.name(), {{".", "/"}, {"/", "."}}));
    // By this thread, whose ipc and uts namespaces are the container's.
    Fd file(::openat(proc_.get(), path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!file && errno == ENOENT) {
      return absl::InvalidArgumentError(
          absl::StrCat("sysctl ", sysctl.name(), ": the guest's kernel has no such parameter"));
    }
    if (!file) return ErrnoStatus(absl::StrCat("sysctl ", sysctl.name()));
    const ssize_t written = ::write(file.get(), sysctl.value().data(), sysctl.value().size());
    if (written < 0) {
      const int error = errno;
      return absl::InvalidArgumentError(
          absl::StrCat("sysctl ", sysctl.name(), ": the guest's kernel refuses the value '",
                       sysctl.value(), "': ", std::string(ErrnoStatus(error, "write").message())));
    }
  }
  return absl::OkStatus();
}

StartedProcess Container::StartNow(const v1::ProcessSpec& spec, bool first) {
  StartedProcess started;
  if (!created_.ok()) {
    started.status = created_;
    return started;
  }
  if (!first && !cgroup_namespace_) {
    started.status = absl::FailedPreconditionError("the container's first process does not run");
    return started;
  }
  SpawnOptions options;
  ProcessPlan plan;
  std::vector<Fd> child_ends;
  started.status = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(std::string passwd, ReadUserDatabase("/etc/passwd"));
    ASSIGN_OR_RETURN(std::string group, ReadUserDatabase("/etc/group"));
    ASSIGN_OR_RETURN(plan, PlanProcess(spec, passwd, group));
    // A failure shows again, and more clearly, in the child's chdir.
    if (absl::Status made = MakeFolders(plan.working_directory); !made.ok()) {
      Log("%s", std::string(made.message()).c_str());
    }
    return OpenStreams(plan, spec, first, options, started, child_ends);
  }();
  if (!started.status.ok()) return started;

  options.plan = &plan;
  options.cgroup = cgroup_.get();
  options.cgroup_namespace = first ? -1 : cgroup_namespace_.get();
  options.first = first;
  options.views = &views_;
  options.use_init = first && use_init_;
  const SpawnResult result = Spawn(options);
  started.pid = result.pid;
  if (result.error_number == 0) {
    if (first) {
      // A process that has ended already needs no second one in its cgroup namespace.
      cgroup_namespace_.Reset(::openat(proc_.get(), absl::StrCat(result.pid, "/ns/cgroup").c_str(),
                                       O_RDONLY | O_CLOEXEC));
    }
    return started;
  }
  if (result.failed_step == nullptr) {
    started.exec_failure = DescribeExecFailure(plan.arguments[0], plan.searched, result.file_exists,
                                               result.error_number);
  } else if (result.failed_step == plan.working_directory.c_str()) {
    started.exec_failure.set_exit_code(126);
    started.exec_failure.set_message(
        std::string(ErrnoStatus(result.error_number,
                                absl::StrCat("chdir to cwd (\"", plan.working_directory, "\")"))
                        .message()));
  } else if (result.pid <= 0 && !first) {
    // The pid namespace takes no further process once its first is gone.
    started.status = absl::FailedPreconditionError("the container's first process has ended");
  } else {
    started.status = ErrnoStatus(result.error_number, result.failed_step);
  }
  return started;
}

absl::Status Container::OpenStreams(const ProcessPlan& plan, const v1::ProcessSpec& spec,
                                    bool first, SpawnOptions& options, StartedProcess& started,
                                    std::vector<Fd>& child_ends) {
  if (plan.terminal) {
    ASSIGN_OR_RETURN(FdPair terminal, OpenTerminal(spec, first));
    // tty(1) and programs that open their terminal anew run as the user. Best effort, as in runc.
    if (::fchown(terminal.second.get(), plan.user.uid, static_cast<gid_t>(-1)) != 0) {
      Log("can't give the terminal to uid %u", plan.user.uid);
    }
    options.standard_input = options.standard_output = options.standard_error =
        terminal.second.get();
    child_ends.push_back(std::move(terminal.second));
    ASSIGN_OR_RETURN(started.standard_input, base::Duplicate(terminal.first.get()));
    started.standard_output = std::move(terminal.first);
    return absl::OkStatus();
  }
  // The child's ends belong to its user, so that it can open /dev/stdout anew. Never non-blocking
  // on the child's side: a pipe's two ends have flags of their own.
  const auto open_pipe = [&](bool to_child, Fd& ours, int& theirs) -> absl::Status {
    ASSIGN_OR_RETURN(FdPair pipe, base::MakePipe());
    Fd& our_end = to_child ? pipe.second : pipe.first;
    Fd& child_end = to_child ? pipe.first : pipe.second;
    RETURN_IF_ERROR(base::SetNonBlocking(our_end.get(), true));
    if (::fchown(child_end.get(), plan.user.uid, plan.user.gid) != 0) {
      return ErrnoStatus("fchown a pipe");
    }
    ours = std::move(our_end);
    theirs = child_end.get();
    child_ends.push_back(std::move(child_end));
    return absl::OkStatus();
  };
  if (plan.standard_input) {
    RETURN_IF_ERROR(open_pipe(true, started.standard_input, options.standard_input));
  } else {
    ASSIGN_OR_RETURN(Fd null, base::Open("/dev/null", O_RDONLY));
    options.standard_input = null.get();
    child_ends.push_back(std::move(null));
  }
  RETURN_IF_ERROR(open_pipe(false, started.standard_output, options.standard_output));
  return open_pipe(false, started.standard_error, options.standard_error);
}

absl::StatusOr<FdPair> Container::OpenTerminal(const v1::ProcessSpec& spec, bool first) {
  FdPair pair;
  ASSIGN_OR_RETURN(pair.first, base::Open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK));
  const int master = pair.first.get();
  int unlock = 0;
  unsigned int number = 0;
  if (::ioctl(master, TIOCSPTLCK, &unlock) != 0) return ErrnoStatus("unlock the terminal");
  if (::ioctl(master, TIOCGPTN, &number) != 0) return ErrnoStatus("number of the terminal");
  const std::string path = absl::StrCat("/dev/pts/", number);
  ASSIGN_OR_RETURN(pair.second, base::Open(path, O_RDWR | O_NOCTTY));
  if (spec.has_size()) {
    winsize size{};
    size.ws_row = static_cast<unsigned short>(spec.size().rows());
    size.ws_col = static_cast<unsigned short>(spec.size().columns());
    if (::ioctl(master, TIOCSWINSZ, &size) != 0) return ErrnoStatus("size of the terminal");
  }
  if (first) {
    ASSIGN_OR_RETURN(Fd console, base::Open("/dev/console", O_WRONLY | O_CREAT | O_NOCTTY, 0600));
    if (::mount(path.c_str(), "/dev/console", nullptr, MS_BIND, nullptr) != 0) {
      return ErrnoStatus("mount /dev/console");
    }
  }
  return pair;
}

}  // namespace container::vminitd
