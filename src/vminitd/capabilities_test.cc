#include "vminitd/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

#include <vector>

namespace container::vminitd {
namespace {

using Names = std::vector<std::string>;

TEST(CapabilitiesTest, NumbersAreTheKernels) {
  EXPECT_EQ(*CapabilityNumber("CAP_CHOWN"), CAP_CHOWN);
  EXPECT_EQ(*CapabilityNumber("CAP_LINUX_IMMUTABLE"), CAP_LINUX_IMMUTABLE);
  EXPECT_EQ(*CapabilityNumber("CAP_SYS_ADMIN"), CAP_SYS_ADMIN);
  EXPECT_EQ(*CapabilityNumber("CAP_SETFCAP"), CAP_SETFCAP);
  EXPECT_EQ(*CapabilityNumber("CAP_CHECKPOINT_RESTORE"), CAP_CHECKPOINT_RESTORE);
}

TEST(CapabilitiesTest, MaskOfTheDefaults) {
  EXPECT_EQ(*CapabilityMask(Names{"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER",
                                  "CAP_FSETID", "CAP_KILL", "CAP_MKNOD", "CAP_NET_BIND_SERVICE",
                                  "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP",
                                  "CAP_SETUID", "CAP_SYS_CHROOT"}),
            0xa80425fbu);
  EXPECT_EQ(*CapabilityMask(Names{}), 0u);
}

TEST(CapabilitiesTest, UnknownNamesAreErrors) {
  for (const char* name : {"CHOWN", "cap_chown", "CAP_", "", "CAP_EVERYTHING"}) {
    EXPECT_EQ(CapabilityMask(Names{name}).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace container::vminitd
