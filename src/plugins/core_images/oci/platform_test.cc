#include "plugins/core_images/oci/platform.h"

#include <gtest/gtest.h>
#include <sys/utsname.h>

namespace container::oci {
namespace {

std::string Parsed(absl::string_view text) {
  const auto platform = Platform::Parse(text);
  return platform.ok() ? platform->ToString() : std::string(platform.status().message());
}

TEST(Platform, HasOneSpelling) {
  EXPECT_EQ(Parsed("linux/amd64"), "linux/amd64");
  EXPECT_EQ(Parsed("linux/x86_64"), "linux/amd64");
  EXPECT_EQ(Parsed("Linux/AMD64/v1"), "linux/amd64");
  EXPECT_EQ(Parsed("linux/amd64/v3"), "linux/amd64/v3");
  EXPECT_EQ(Parsed("linux/aarch64"), "linux/arm64/v8");
  EXPECT_EQ(Parsed("linux/arm64/8"), "linux/arm64/v8");
  EXPECT_EQ(Parsed("linux/armhf"), "linux/arm/v7");
  EXPECT_EQ(Parsed("linux/armel"), "linux/arm/v6");
  EXPECT_EQ(Parsed("linux/arm"), "linux/arm/v7");
  EXPECT_EQ(Parsed("linux/arm/6"), "linux/arm/v6");
  EXPECT_EQ(Parsed("linux/i386"), "linux/386");
  EXPECT_EQ(Parsed("macos/arm64"), "darwin/arm64/v8");
}

TEST(Platform, HalvesTakeTheRestFromTheHost) {
  const Platform host = Platform::Host();
  EXPECT_EQ(host.os, "linux");
  EXPECT_EQ(*Platform::Parse("linux"), host);
  EXPECT_EQ(Parsed("arm64"), "linux/arm64/v8");
  EXPECT_EQ(Parsed("riscv64"), "linux/riscv64");
}

TEST(Platform, RefusesTheMalformed) {
  for (const char* text : {"", "/", "linux/", "linux/amd64/v1/x", "li nux/amd64", "nonsense"}) {
    EXPECT_FALSE(Platform::Parse(text).ok()) << text;
  }
}

TEST(Platform, FallsBackAsContainerdDoes) {
  const auto best = [](absl::string_view wanted, const std::vector<std::string>& offered) {
    std::vector<Platform> platforms;
    for (const std::string& text : offered) platforms.push_back(*Platform::Parse(text));
    return BestMatch(*Platform::Parse(wanted), platforms);
  };
  EXPECT_EQ(best("linux/amd64", {"linux/arm64", "linux/amd64"}), 1);
  EXPECT_EQ(best("linux/amd64", {"linux/386"}), 0);
  EXPECT_EQ(best("linux/amd64", {"linux/amd64/v3"}), -1);
  EXPECT_EQ(best("linux/amd64/v3", {"linux/amd64", "linux/amd64/v2"}), 1);
  EXPECT_EQ(best("linux/arm64", {"linux/arm/v6", "linux/arm/v7"}), 1);
  EXPECT_EQ(best("linux/arm64", {"linux/arm/v7", "linux/arm64"}), 1);
  EXPECT_EQ(best("linux/arm/v6", {"linux/arm/v7", "linux/arm/v5"}), 1);
  EXPECT_EQ(best("linux/arm/v6", {"linux/arm/v7"}), -1);
  EXPECT_EQ(best("linux/s390x", {"linux/amd64", "windows/s390x"}), -1);
}

}  // namespace
}  // namespace container::oci
