#include "plugins/runtime_linux/guest_options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::runtime_linux {
namespace {

TEST(GuestOptions, TmpfsOptionsBecomeFlagsAndData) {
  vminitd::v1::Tmpfs plain = DescribeTmpfs({"/run", {}});
  EXPECT_EQ(plain.destination(), "/run");
  EXPECT_FALSE(plain.exec() || plain.suid() || plain.dev() || plain.read_only());
  EXPECT_EQ(plain.data(), "");
  vminitd::v1::Tmpfs full = DescribeTmpfs(
      {"/x", {"size=64m", "mode=700", "noexec", "exec", "suid", "dev", "ro", "noatime"}});
  EXPECT_TRUE(full.exec() && full.suid() && full.dev() && full.read_only() && full.noatime());
  EXPECT_EQ(full.data(), "size=67108864,mode=700");
  EXPECT_EQ(DescribeTmpfs({"/x", {"size=50%"}}).data(), "size=50%");
}

TEST(GuestOptions, ListsThatAreNotSetStayOut) {
  model::ContainerConfiguration configuration;
  vminitd::v1::CreateContainerRequest request;
  DescribeOptions(configuration, request);
  EXPECT_FALSE(request.has_masked_paths());
  EXPECT_FALSE(request.has_read_only_paths());
  configuration.masked_paths.emplace();
  configuration.read_only_paths = {"/etc"};
  configuration.read_only = configuration.use_init = true;
  configuration.sysctls = {{"net.core.somaxconn", "9"}};
  configuration.shm_size_bytes = 8192;
  DescribeOptions(configuration, request);
  EXPECT_TRUE(request.has_masked_paths());
  EXPECT_EQ(request.masked_paths().paths_size(), 0);
  EXPECT_EQ(request.read_only_paths().paths(0), "/etc");
  EXPECT_TRUE(request.root().read_only());
  EXPECT_TRUE(request.use_init());
  EXPECT_EQ(request.sysctls(0).value(), "9");
  EXPECT_EQ(request.shm_size_bytes(), 8192);
}

}  // namespace
}  // namespace container::runtime_linux
