#include "vminitd/mounts.h"

#include <dirent.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "vminitd/guest_log.h"

namespace container::vminitd {
namespace {

using base::ErrnoStatus;
using base::Fd;

constexpr unsigned long kNoSuidDevExec = MS_NOSUID | MS_NODEV | MS_NOEXEC;

absl::Status Mount(const char* source, const std::string& target, const char* type,
                   unsigned long flags, const char* options) {
  if (::mount(source, target.c_str(), type, flags, options) != 0) {
    return ErrnoStatus(absl::StrCat("mount ", type == nullptr ? source : type, " on ", target));
  }
  return absl::OkStatus();
}

absl::Status MakeFolder(const std::string& path, mode_t mode = 0755) {
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
    return ErrnoStatus(absl::StrCat("mkdir ", path));
  }
  return absl::OkStatus();
}

void WriteSysctl(const char* path, absl::string_view value) {
  Fd fd(::open(path, O_WRONLY | O_CLOEXEC));
  if (!fd || !base::WriteAll(fd.get(), value).ok()) Log("can't write %s", path);
}

bool IsMissingOrEmpty(const char* path) {
  struct stat info;
  if (::stat(path, &info) != 0) return errno == ENOENT;
  return S_ISREG(info.st_mode) && info.st_size == 0;
}

absl::Status WriteFile(const char* path, absl::string_view content) {
  ASSIGN_OR_RETURN(Fd fd, base::Open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NONBLOCK, 0644));
  return base::Annotate(base::WriteAll(fd.get(), content), path);
}

struct DeviceNode {
  const char* path;
  unsigned int major_number;
  unsigned int minor_number;
};
constexpr DeviceNode kDevices[] = {
    {"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
    {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0},
};
struct Link {
  const char* path;
  const char* target;
};
constexpr Link kLinks[] = {
    {"/dev/ptmx", "pts/ptmx"},          {"/dev/fd", "/proc/self/fd"},
    {"/dev/stdin", "/proc/self/fd/0"},  {"/dev/stdout", "/proc/self/fd/1"},
    {"/dev/stderr", "/proc/self/fd/2"}, {"/dev/core", "/proc/kcore"},
};

// What runc gives a container by default.
absl::Status FillDev() {
  RETURN_IF_ERROR(
      Mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"));
  for (const DeviceNode& device : kDevices) {
    if (::mknod(device.path, S_IFCHR | 0666, makedev(device.major_number, device.minor_number)) !=
        0) {
      return ErrnoStatus(absl::StrCat("mknod ", device.path));
    }
  }
  for (const Link& link : kLinks) {
    if (::symlink(link.target, link.path) != 0) {
      return ErrnoStatus(absl::StrCat("symlink ", link.path));
    }
  }
  RETURN_IF_ERROR(MakeFolder("/dev/pts"));
  RETURN_IF_ERROR(Mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
                        "newinstance,ptmxmode=0666,mode=0620,gid=5"));
  RETURN_IF_ERROR(MakeFolder("/dev/shm", 01777));
  RETURN_IF_ERROR(Mount("shm", "/dev/shm", "tmpfs", kNoSuidDevExec, "mode=1777,size=65536k"));
  RETURN_IF_ERROR(MakeFolder("/dev/mqueue"));
  return Mount("mqueue", "/dev/mqueue", "mqueue", kNoSuidDevExec, nullptr);
}

}  // namespace

absl::Status MountGuest() {
  ::umask(0);
  RETURN_IF_ERROR(Mount("devtmpfs", "/dev", "devtmpfs", MS_NOSUID, "mode=755"));
  // The initramfs holds no device nodes, so that the kernel could open no console for us.
  for (;;) {
    int fd = ::open("/dev/null", O_RDWR);
    if (fd < 0) return ErrnoStatus("open /dev/null");
    if (fd > 2) {
      ::close(fd);
      break;
    }
  }
  OpenGuestLog();
  // The kernel's initial root has no mount above it, which pivot_root(2) insists on: a bind mount
  // of it, moved over it, has.
  RETURN_IF_ERROR(Mount("/", "/root", nullptr, MS_BIND | MS_REC, nullptr));
  if (::chdir("/root") != 0 || ::mount(".", "/", nullptr, MS_MOVE, nullptr) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0) {
    return ErrnoStatus("move the root");
  }
  RETURN_IF_ERROR(Mount("proc", "/proc", "proc", kNoSuidDevExec, nullptr));
  RETURN_IF_ERROR(Mount("sysfs", "/sys", "sysfs", kNoSuidDevExec, nullptr));
  RETURN_IF_ERROR(Mount("cgroup2", "/sys/fs/cgroup", "cgroup2", kNoSuidDevExec, nullptr));
  return Mount("tmpfs", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=16m");
}

void ConfigureKernel() {
  // For the sake of huge pages the kernel keeps up to 5 % of a small machine free.
  WriteSysctl("/proc/sys/vm/min_free_kbytes", "1024");
  WriteSysctl("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
  WriteSysctl("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
  Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  absl::string_view("lo").copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP | IFF_RUNNING;
  if (!socket || ::ioctl(socket.get(), SIOCSIFFLAGS, &request) != 0) Log("can't bring lo up");
}

absl::StatusOr<std::string> FindDisk(const std::string& serial) {
  // Named in the order of their discovery, without gaps; a microvm has room for 24 devices.
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    const char name[] = {'v', 'd', letter, '\0'};
    Fd fd(::open(absl::StrCat("/sys/block/", name, "/serial").c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) break;
    char buffer[64];
    absl::StatusOr<size_t> count = base::ReadSome(fd.get(), buffer);
    if (!count.ok()) continue;
    if (absl::StripSuffix(absl::string_view(buffer, *count), "\n") == serial) {
      return absl::StrCat("/dev/", name);
    }
  }
  return absl::NotFoundError(absl::StrCat("no disk has the serial '", serial, "'"));
}

absl::Status EnterRoot(const RootDisks& disks, const std::string& scratch) {
  const std::string lower = scratch + "/lower";
  const std::string upper = scratch + "/upper";
  const std::string root = scratch + "/root";
  for (const std::string& folder : {scratch, lower, upper, root}) {
    RETURN_IF_ERROR(MakeFolder(folder));
  }
  ASSIGN_OR_RETURN(std::string lower_device, FindDisk(disks.lower.serial));
  ASSIGN_OR_RETURN(std::string upper_device, FindDisk(disks.upper.serial));
  RETURN_IF_ERROR(
      Mount(lower_device.c_str(), lower, disks.lower.filesystem.c_str(), MS_RDONLY, nullptr));
  RETURN_IF_ERROR(
      Mount(upper_device.c_str(), upper, disks.upper.filesystem.c_str(), MS_NOATIME, nullptr));
  RETURN_IF_ERROR(MakeFolder(upper + "/upper"));
  RETURN_IF_ERROR(MakeFolder(upper + "/work", 0700));
  RETURN_IF_ERROR(
      Mount("overlay", root, "overlay", 0,
            absl::StrCat("lowerdir=", lower, ",upperdir=", upper, "/upper,workdir=", upper, "/work")
                .c_str()));
  // The old root ends up on top of the new one, where it can be let go of.
  if (::chdir(root.c_str()) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 ||
      ::umount2(".", MNT_DETACH) != 0 || ::chdir("/") != 0) {
    return ErrnoStatus("pivot_root");
  }
  for (const char* folder : {"/proc", "/sys", "/dev"}) RETURN_IF_ERROR(MakeFolder(folder));
  RETURN_IF_ERROR(Mount("sysfs", "/sys", "sysfs", kNoSuidDevExec | MS_RDONLY, nullptr));
  return FillDev();
}

absl::Status WriteHostFiles(const v1::CreateContainerRequest& request) {
  const bool own = request.own_host_files();
  const bool hostname_file = own || IsMissingOrEmpty("/etc/hostname");
  const bool hosts_file = own || IsMissingOrEmpty("/etc/hosts");
  if (!hostname_file && !hosts_file) return absl::OkStatus();
  RETURN_IF_ERROR(MakeFolder("/etc"));
  const std::string& hostname = request.hostname();
  if (hostname_file) RETURN_IF_ERROR(WriteFile("/etc/hostname", absl::StrCat(hostname, "\n")));
  if (!hosts_file) return absl::OkStatus();
  std::string hosts = absl::StrCat("127.0.0.1\tlocalhost ", hostname,
                                   "\n::1\tlocalhost ip6-localhost ip6-loopback\n");
  for (const v1::HostEntry& entry : request.extra_hosts()) {
    absl::StrAppend(&hosts, entry.address(), "\t", entry.name(), "\n");
  }
  return WriteFile("/etc/hosts", hosts);
}

absl::Status ResizeShm(int64_t bytes) {
  return Mount("shm", "/dev/shm", nullptr, MS_REMOUNT | kNoSuidDevExec,
               absl::StrCat("size=", bytes).c_str());
}

absl::Status MountTmpfs(const v1::Tmpfs& tmpfs) {
  unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (tmpfs.suid()) flags &= ~static_cast<unsigned long>(MS_NOSUID);
  if (tmpfs.dev()) flags &= ~static_cast<unsigned long>(MS_NODEV);
  if (tmpfs.exec()) flags &= ~static_cast<unsigned long>(MS_NOEXEC);
  if (tmpfs.noatime()) flags |= MS_NOATIME;
  if (tmpfs.read_only()) flags |= MS_RDONLY;
  RETURN_IF_ERROR(MakeFolders(tmpfs.destination()));
  return Mount("tmpfs", tmpfs.destination(), "tmpfs", flags, tmpfs.data().c_str());
}

absl::Status OpenToPrivileged(int devices) {
  if (::mount(nullptr, "/sys", nullptr, MS_BIND | MS_REMOUNT | kNoSuidDevExec, nullptr) != 0) {
    return ErrnoStatus("make /sys writable");
  }
  Fd own(::openat(devices, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!own) return ErrnoStatus("open the guest's /dev");
  DIR* list = ::fdopendir(own.get());
  if (list == nullptr) return ErrnoStatus("list the guest's /dev");
  static_cast<void>(own.Release());
  while (const dirent* entry = ::readdir(list)) {
    struct stat info;
    if (::fstatat(devices, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    if (!S_ISCHR(info.st_mode) && !S_ISBLK(info.st_mode)) continue;
    const std::string path = absl::StrCat("/dev/", entry->d_name);
    if (::mknod(path.c_str(), info.st_mode, info.st_rdev) != 0 && errno != EEXIST) {
      Log("can't make %s", path.c_str());
    }
  }
  ::closedir(list);
  return absl::OkStatus();
}

absl::Status MakeFolders(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) return absl::OkStatus();
  return base::MakeDirectories(path, 0755);
}

}  // namespace container::vminitd
