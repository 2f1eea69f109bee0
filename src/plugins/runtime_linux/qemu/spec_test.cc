#include "plugins/runtime_linux/qemu/spec.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugins/runtime_linux/tsc.h"

namespace container::runtime_linux {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

VmSpec Example() {
  VmSpec spec;
  spec.program = "/opt/qemu";
  spec.name = "web";
  spec.cpus = 4;
  spec.memory_bytes = (int64_t{1} << 30) + 1;
  spec.kernel_path = "/k/vmlinux";
  spec.initramfs_path = "/i/initramfs.cpio";
  spec.command_line = "console=ttyS0 quiet";
  spec.disks = {{"root", 50, true}, {"writable", 51, false}};
  spec.qmp_fd = 60;
  spec.agent_fd = 61;
  spec.console_fd = 62;
  return spec;
}

TEST(VmSpecTest, WholeCommandLineUnderTcg) {
  base::SubprocessSpec child = ToSubprocess(Example());
  EXPECT_EQ(child.program, "/opt/qemu");
  EXPECT_THAT(
      child.arguments,
      ElementsAre("-name", "guest=web",                                                       //
                  "-M", "microvm,acpi=off,x-option-roms=off,dump-guest-core=off",             //
                  "-accel", "tcg,thread=multi,tb-size=64",                                    //
                  "-cpu", "max,svm=off,erms=off",                                             //
                  "-smp", "4",                                                                //
                  "-m", "1025M",                                                              //
                  "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",         //
                  "-sandbox",                                                                 //
                  "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",  //
                  "-global", "virtio-mmio.force-legacy=false",                                //
                  "-kernel", "/k/vmlinux",                                                    //
                  "-initrd", "/i/initramfs.cpio",                                             //
                  "-append", "console=ttyS0 quiet",                                           //
                  "-chardev", "socket,id=qmp,fd=3",                                           //
                  "-mon", "chardev=qmp,mode=control",                                         //
                  "-chardev", "socket,id=console,fd=5",                                       //
                  "-serial", "chardev:console",                                               //
                  "-chardev", "socket,id=agent,fd=4",                                         //
                  "-device", "virtio-serial-device,max_ports=2",                              //
                  "-device", "virtserialport,id=agent,chardev=agent,name=agent",              //
                  "-add-fd", "fd=6,set=6",                                                    //
                  "-blockdev",                                                                //
                  "driver=raw,node-name=disk0,read-only=on,file.locking=off,file.driver=file,"
                  "file.filename=/dev/fdset/6",                                            //
                  "-device", "virtio-blk-device,id=disk0-device,drive=disk0,serial=root",  //
                  "-add-fd", "fd=7,set=7",                                                 //
                  "-blockdev",                                                             //
                  "driver=raw,node-name=disk1,discard=unmap,detect-zeroes=unmap,file.driver=file,"
                  "file.filename=/dev/fdset/7",                                                //
                  "-device", "virtio-blk-device,id=disk1-device,drive=disk1,serial=writable",  //
                  "-device", "virtio-rng-device",                                              //
                  "-device", "virtio-balloon-device,free-page-reporting=on"));
  EXPECT_THAT(*child.environment, ElementsAre("MALLOC_ARENA_MAX=2"));
  EXPECT_TRUE(child.dies_with_parent);
  EXPECT_TRUE(child.new_session);
  std::vector<std::pair<int, int>> fds;
  for (const auto& fd : child.fds) fds.emplace_back(fd.source, fd.target);
  EXPECT_THAT(fds, ElementsAre(Pair(60, 3), Pair(61, 4), Pair(62, 5), Pair(62, 2), Pair(50, 6),
                               Pair(51, 7)));
}

TEST(VmSpecTest, KvmDiffersInAcceleratorAndProcessorAlone) {
  VmSpec spec = Example();
  const std::vector<std::string> tcg = ToSubprocess(spec).arguments;
  spec.accelerator = Accelerator::kKvm;
  const std::vector<std::string> kvm = ToSubprocess(spec).arguments;
  ASSERT_EQ(tcg.size(), kvm.size());
  std::vector<std::string> different;
  for (size_t i = 0; i < kvm.size(); ++i) {
    if (kvm[i] != tcg[i]) different.push_back(kvm[i]);
  }
  EXPECT_THAT(different, ElementsAre("kvm", "host"));
}

TEST(VmSpecTest, KernelCommandLine) {
  EXPECT_EQ(KernelCommandLine(Accelerator::kTcg, 2'600'000, false),
            "console=ttyS0 reboot=t panic=-1 quiet tsc_early_khz=2600000 lpj=26000000 tsc=reliable "
            "lapic_timer_khz=1000000");
  EXPECT_EQ(KernelCommandLine(Accelerator::kTcg, std::nullopt, false),
            "console=ttyS0 reboot=t panic=-1 quiet");
  EXPECT_EQ(KernelCommandLine(Accelerator::kKvm, 2'600'000, true),
            "console=ttyS0 reboot=t panic=-1");
}

TEST(TscMeterTest, MeasurementsAgree) {
  const std::optional<int64_t> first = TscMeter().FrequencyKhz();
  const std::optional<int64_t> second = TscMeter().FrequencyKhz();
  ASSERT_EQ(first.has_value(), second.has_value());
  if (!first.has_value()) GTEST_SKIP() << "this host's time stamp counter is not invariant";
  EXPECT_GT(*first, 500'000);
  EXPECT_LT(*first, 10'000'000);
  // 200 parts in a million: what a busy test machine may cost.
  EXPECT_NEAR(static_cast<double>(*first), static_cast<double>(*second), *first * 200e-6);
  RecordProperty("tsc_khz", std::to_string(*first));
}

TEST(VmSpecTest, ParsesAccelerators) {
  EXPECT_EQ(*ParseAccelerator("kvm"), Accelerator::kKvm);
  EXPECT_EQ(*ParseAccelerator("tcg"), Accelerator::kTcg);
  EXPECT_EQ(ParseAccelerator("hvf").status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(AcceleratorName(Accelerator::kKvm), "kvm");
}

}  // namespace
}  // namespace container::runtime_linux
