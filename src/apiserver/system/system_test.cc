#include <elf.h>

#include <cstring>
#include <future>
#include <thread>

#include "absl/strings/str_cat.h"
#include "apiserver/plugins/plugin.h"
#include "apiserver/system/accelerator.h"
#include "apiserver/system/kernel_file.h"
#include "apiserver/system/kernels.h"
#include "apiserver/system/system_logs.h"
#include "base/file.h"
#include "base/subprocess.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::apiserver {
namespace {

using testing::HasSubstr;

/// The least that counts as a PVH kernel.
std::string MakeKernel(absl::string_view release, bool pvh = true, uint16_t machine = EM_X86_64) {
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_machine = machine;
  header.e_phoff = sizeof header;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = 1;
  Elf64_Phdr segment{};
  segment.p_type = PT_NOTE;
  segment.p_offset = sizeof header + sizeof segment;
  Elf64_Nhdr note{4, 8, pvh ? 18u : 1u};
  std::string notes(reinterpret_cast<char*>(&note), sizeof note);
  notes += std::string("Xen\0", 4) + std::string(8, '\1');
  segment.p_filesz = notes.size();
  return std::string(reinterpret_cast<char*>(&header), sizeof header) +
         std::string(reinterpret_cast<char*>(&segment), sizeof segment) + notes +
         absl::StrCat("Linux version %s\nLinux version ", release, " (a@b) #1\n");
}

class SystemTest : public testing::Test {
 protected:
  std::string Put(const std::string& name, const std::string& content) {
    const std::string path = folder_.path() + "/" + name;
    EXPECT_TRUE(base::MakeDirectories(path.substr(0, path.rfind('/'))).ok());
    EXPECT_TRUE(base::WriteFileAtomically(path, content).ok());
    return path;
  }
  std::string Refusal(const std::string& content) {
    return std::string(InspectKernel(Put("kernel", content)).status().message());
  }
  base::TemporaryDirectory folder_ = base::TemporaryDirectory::Create().value();
  base::Paths paths_ = base::Paths::Create(folder_.path() + "/app", folder_.path() + "/install",
                                           "/tmp/r", folder_.path() + "/log")
                           .value();
};

TEST_F(SystemTest, KernelFiles) {
  EXPECT_EQ(InspectKernel(Put("k", MakeKernel("6.12.1-x"))).value().release, "6.12.1-x");
  EXPECT_THAT(Refusal("hello"), HasSubstr("not a kernel"));
  EXPECT_THAT(Refusal(""), HasSubstr("no content"));
  EXPECT_THAT(Refusal(MakeKernel("6", false)), HasSubstr("CONFIG_PVH"));
  EXPECT_THAT(Refusal(MakeKernel("6", true, EM_AARCH64)), HasSubstr("x86-64"));
  std::string bz_image(1024, '\0');
  bz_image.replace(0x202, 4, "HdrS");
  EXPECT_THAT(Refusal(bz_image), HasSubstr("bzImage"));
  EXPECT_EQ(InspectKernel("/nowhere").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(SystemTest, DigestOfAFile) {
  EXPECT_EQ(Sha256OfFile(Put("abc", "abc")).value(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_F(SystemTest, TheRecommendedKernelIsInstalledAndKeptUpToDate) {
  Kernels kernels(paths_, {});
  EXPECT_EQ(kernels.DefaultPath(), "");
  EXPECT_EQ(kernels.InstallRecommendedIfNeeded().code(), absl::StatusCode::kFailedPrecondition);
  Put("install/share/container/vmlinux", MakeKernel("6.1"));
  ASSERT_TRUE(kernels.InstallRecommendedIfNeeded().ok());
  const std::string first = kernels.DefaultPath();
  EXPECT_THAT(first, HasSubstr("/kernels/recommended-6.1-"));
  ASSERT_TRUE(kernels.InstallRecommendedIfNeeded().ok());
  EXPECT_EQ(kernels.DefaultPath(), first);
  Put("install/share/container/vmlinux", MakeKernel("6.2"));
  ASSERT_TRUE(kernels.InstallRecommendedIfNeeded().ok());
  EXPECT_THAT(kernels.DefaultPath(), HasSubstr("recommended-6.2-"));
  // One that the user chose stays.
  ASSERT_TRUE(kernels.InstallBinary(Put("mine", MakeKernel("5.0")), false).ok());
  ASSERT_TRUE(kernels.InstallRecommendedIfNeeded().ok());
  EXPECT_THAT(kernels.DefaultPath(), HasSubstr("/kernels/5.0-"));
  EXPECT_EQ(kernels.InstallBinary("mine", false).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SystemTest, KernelsFromArchives) {
  Put("src/boot/vmlinux", MakeKernel("6.9"));
  const std::string archive = folder_.path() + "/k.tar.gz";
  base::SubprocessSpec tar;
  tar.program = "tar";
  tar.arguments = {"-czf", archive, "-C", folder_.path() + "/src", "boot/vmlinux"};
  ASSERT_TRUE(base::RunCommand(tar, std::chrono::seconds(30)).ok());
  Kernels kernels(paths_, {});
  const std::string digest = "sha256:" + Sha256OfFile(archive).value();
  EXPECT_EQ(kernels.InstallArchive(archive, "boot/vmlinux", "sha256:00", false).status().code(),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(kernels.InstallArchive(archive, "boot/nothing", digest, false).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(kernels.DefaultPath(), "");
  auto installed = kernels.InstallArchive(archive, "boot/vmlinux", digest, false);
  ASSERT_TRUE(installed.ok()) << installed.status();
  EXPECT_EQ(kernels.DefaultPath(), *installed);
}

TEST_F(SystemTest, VerdictsAreKept) {
  const VerdictCache cache(folder_.path() + "/accelerator.json");
  EXPECT_FALSE(cache.Find("a").ok());
  const AcceleratorVerdict verdict{"tcg", "because"};
  ASSERT_TRUE(cache.Put("a", verdict).ok());
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(cache.Put(absl::StrCat("k", i), {"kvm", "x"}).ok());
  EXPECT_EQ(cache.Find("a").value(), verdict);
  Put("accelerator.json", "[7, {\"key\": 1}, nonsense");
  EXPECT_FALSE(cache.Find("a").ok());
  ASSERT_TRUE(cache.Put("a", verdict).ok());
  EXPECT_EQ(cache.Find("a").value(), verdict);
}

TEST_F(SystemTest, TheAcceleratorIsProbedOnceAndForced) {
  const std::string device = Put("kvm", "");
  const Accelerator::Inputs inputs{Put("k", "k"), Put("i", "i"), "qemu", "7.2"};
  int probes = 0;
  const auto broken = [&probes](const Accelerator::Inputs&) {
    ++probes;
    return absl::UnavailableError("no user space");
  };
  const std::string cache = folder_.path() + "/cache.json";
  Accelerator automatic("auto", cache, broken, device);
  std::thread decide([&] { automatic.Decide(inputs); });
  EXPECT_EQ(automatic.Get(std::chrono::seconds(10)).value(), "tcg");
  decide.join();
  EXPECT_THAT(automatic.Now().reason, HasSubstr("no user space"));
  Accelerator again("auto", cache, broken, device);
  again.Decide(inputs);
  EXPECT_EQ(probes, 1);
  Put("k", "another kernel");
  again.Decide(inputs);
  EXPECT_EQ(probes, 2);
  Accelerator forced("kvm", cache, broken, device);
  forced.Decide(inputs);
  EXPECT_EQ(forced.Get(std::chrono::seconds(1)).status().code(),
            absl::StatusCode::kFailedPrecondition);
  Accelerator emulated("tcg", cache, broken, device);
  emulated.Decide(inputs);
  EXPECT_EQ(emulated.Get(std::chrono::seconds(1)).value(), "tcg");
  EXPECT_EQ(probes, 2);
  Accelerator absent("auto", cache, broken, "/dev/nothing-here");
  absent.Decide(inputs);
  EXPECT_EQ(absent.Get(std::chrono::seconds(1)).value(), "tcg");
}

TEST_F(SystemTest, LogsAreMergedByTime) {
  Put("log/a.log",
      "2026-01-01T00:00:01.000Z I a one\n2026-01-01T00:00:03.000Z I a three\nmore of it\n");
  Put("log/b.log", "2026-01-01T00:00:02.000Z I b two\n2026-01-01T00:00:04.000Z I b fo");
  SystemLogs all(folder_.path() + "/log", "");
  EXPECT_EQ(all.Next().value().value(),
            "2026-01-01T00:00:01.000Z I a one\n2026-01-01T00:00:02.000Z I b two\n"
            "2026-01-01T00:00:03.000Z I a three\nmore of it\n");
  EXPECT_FALSE(all.Next().value().has_value());
  SystemLogs late(folder_.path() + "/log", "2026-01-01T00:00:02.500Z");
  EXPECT_EQ(late.Next().value().value(), "2026-01-01T00:00:03.000Z I a three\nmore of it\n");
}

TEST_F(SystemTest, Plugins) {
  EXPECT_EQ(LoadPlugin(paths_, "tool").status().code(), absl::StatusCode::kNotFound);
  const std::string folder = "install/libexec/container/plugins/tool";
  Put(folder + "/config.toml",
      "abstract = 'x'\n[service]\ntype = 'core'\nloadAtBoot = true\ndefaultArguments = "
      "['start']\n");
  EXPECT_THAT(std::string(LoadPlugin(paths_, "tool").status().message()), HasSubstr("incomplete"));
  const std::string program = Put(folder + "/bin/tool", "");
  ASSERT_EQ(::chmod(program.c_str(), 0700), 0);
  auto plugin = LoadPlugin(paths_, "tool");
  ASSERT_TRUE(plugin.ok()) << plugin.status();
  EXPECT_EQ(plugin->type, "core");
  EXPECT_TRUE(plugin->load_at_boot);
  EXPECT_THAT(plugin->default_arguments, testing::ElementsAre("start"));
  Put(folder + "/config.toml", "abstract = \n");
  EXPECT_THAT(std::string(LoadPlugin(paths_, "tool").status().message()), HasSubstr("line 1"));
}

}  // namespace
}  // namespace container::apiserver
