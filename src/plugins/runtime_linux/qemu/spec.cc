#include "plugins/runtime_linux/qemu/spec.h"

#include "absl/strings/str_cat.h"

namespace container::runtime_linux {
namespace {

// Descriptors in the child. The order is fixed, so that the command line depends on the VM alone.
constexpr int kQmpFd = 3;
constexpr int kAgentFd = 4;
constexpr int kConsoleFd = 5;
constexpr int kFirstDiskFd = 6;

// Translated code of TCG: unbounded, it grows by a gigabyte in a VM that lives long.
constexpr int kTranslationCacheMib = 64;

constexpr int64_t kMib = int64_t{1} << 20;

}  // namespace

absl::StatusOr<Accelerator> ParseAccelerator(absl::string_view text) {
  if (text == "kvm") return Accelerator::kKvm;
  if (text == "tcg") return Accelerator::kTcg;
  return absl::InvalidArgumentError(
      absl::StrCat("unknown accelerator '", text, "': kvm and tcg are known"));
}

absl::string_view AcceleratorName(Accelerator accelerator) {
  return accelerator == Accelerator::kKvm ? "kvm" : "tcg";
}

std::string KernelCommandLine(Accelerator accelerator, std::optional<int64_t> tsc_khz, bool debug) {
  // reboot=t: a triple fault is the one way out of a machine without ACPI, and -no-reboot makes it
  // the end of QEMU. panic=-1: a guest without its init must not linger.
  std::string line = "console=ttyS0 reboot=t panic=-1";
  // The serial port costs an exit of the VM for each character.
  if (!debug) line += " quiet";
  if (accelerator == Accelerator::kTcg && tsc_khz.has_value()) {
    // Nothing in such a guest could be calibrated against: tell it all rates. The loops-per-jiffy
    // are for HZ=100, the APIC timer of QEMU runs at 1 GHz.
    absl::StrAppend(&line, " tsc_early_khz=", *tsc_khz, " lpj=", *tsc_khz * 10,
                    " tsc=reliable lapic_timer_khz=1000000");
  }
  return line;
}

base::SubprocessSpec ToSubprocess(const VmSpec& spec) {
  base::SubprocessSpec child;
  child.program = spec.program;
  // A thread of QEMU seldom allocates: arenas of their own would only be waste.
  child.environment = std::vector<std::string>{"MALLOC_ARENA_MAX=2"};
  child.dies_with_parent = true;
  child.new_session = true;
  child.fds = {{spec.qmp_fd, kQmpFd},
               {spec.agent_fd, kAgentFd},
               {spec.console_fd, kConsoleFd},
               {spec.console_fd, 2}};

  std::vector<std::string>& argv = child.arguments;
  auto add = [&argv](auto... words) { (argv.emplace_back(words), ...); };
  const bool tcg = spec.accelerator == Accelerator::kTcg;

  add("-name", absl::StrCat("guest=", spec.name));
  // Without option ROMs the firmware loads the PVH kernel by itself, and sooner.
  add("-M", "microvm,acpi=off,x-option-roms=off,dump-guest-core=off");
  if (tcg) {
    add("-accel", absl::StrCat("tcg,thread=multi,tb-size=", kTranslationCacheMib));
    // Nested virtualization makes no sense here, and KVM in the guest costs 0.1 s of its boot. The
    // string instructions that erms calls fast are emulated byte by byte.
    add("-cpu", "max,svm=off,erms=off");
  } else {
    add("-accel", "kvm");
    add("-cpu", "host");
  }
  add("-smp", absl::StrCat(spec.cpus));
  add("-m", absl::StrCat((spec.memory_bytes + kMib - 1) / kMib, "M"));
  add("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot");
  add("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
  add("-global", "virtio-mmio.force-legacy=false");
  add("-kernel", spec.kernel_path);
  add("-initrd", spec.initramfs_path);
  add("-append", spec.command_line);

  add("-chardev", absl::StrCat("socket,id=qmp,fd=", kQmpFd));
  add("-mon", "chardev=qmp,mode=control");
  add("-chardev", absl::StrCat("socket,id=console,fd=", kConsoleFd));
  add("-serial", "chardev:console");
  add("-chardev", absl::StrCat("socket,id=agent,fd=", kAgentFd));
  add("-device", "virtio-serial-device,max_ports=2");
  // The id appears in the VSERPORT_CHANGE event that tells that the guest has opened the port.
  add("-device", "virtserialport,id=agent,chardev=agent,name=agent");

  int fd = kFirstDiskFd;
  int index = 0;
  for (const VmDisk& disk : spec.disks) {
    const std::string node = absl::StrCat("disk", index++);
    add("-add-fd", absl::StrCat("fd=", fd, ",set=", fd));
    // An image that many containers share is never written to: no lock is needed, and no lock is
    // then a reason to fail. discard: what the guest deletes goes back to the host.
    add("-blockdev", absl::StrCat("driver=raw,node-name=", node,
                                  disk.read_only ? ",read-only=on,file.locking=off"
                                                 : ",discard=unmap,detect-zeroes=unmap",
                                  ",file.driver=file,file.filename=/dev/fdset/", fd));
    add("-device", absl::StrCat("virtio-blk-device,id=", node, "-device,drive=", node,
                                ",serial=", disk.serial));
    child.fds.push_back({disk.fd, fd});
    ++fd;
  }

  add("-device", "virtio-rng-device");
  // Memory that the guest has freed goes back to the host.
  add("-device", "virtio-balloon-device,free-page-reporting=on");
  return child;
}

}  // namespace container::runtime_linux
