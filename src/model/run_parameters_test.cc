#include "model/run_parameters.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::model {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

TEST(RunParameters, Ulimits) {
  EXPECT_EQ(*ParseUlimit("nofile=10:20"), (Rlimit{"RLIMIT_NOFILE", 10, 20}));
  EXPECT_EQ(*ParseUlimit("CORE=0"), (Rlimit{"RLIMIT_CORE", 0, 0}));
  EXPECT_EQ(*ParseUlimit("memlock=-1"), (Rlimit{"RLIMIT_MEMLOCK", UINT64_MAX, UINT64_MAX}));
  EXPECT_EQ(*ParseUlimit("stack=5:unlimited"), (Rlimit{"RLIMIT_STACK", 5, UINT64_MAX}));
  for (const char* bad : {"", "nofile", "nofile=", "=1", "nofile=2:1", "nofile=-2", "nofile=1:2:3",
                          "files=1", "nofile=1:", "nofile=99999999999999999999", "nofile=+1"}) {
    EXPECT_EQ(ParseUlimit(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(RunParameters, Capabilities) {
  EXPECT_EQ(*NormalizeCapability("net_Admin"), "CAP_NET_ADMIN");
  EXPECT_EQ(*NormalizeCapability("cap_chown"), "CAP_CHOWN");
  EXPECT_EQ(*NormalizeCapability("all"), "ALL");
  for (const char* bad : {"", "CAP_", "CAP_FLY", "net admin", "-1"}) {
    EXPECT_FALSE(NormalizeCapability(bad).ok()) << bad;
  }
  EXPECT_EQ(EffectiveCapabilities({}, {}, false), DefaultCapabilities());
  EXPECT_THAT(EffectiveCapabilities({}, {"ALL"}, false), IsEmpty());
  EXPECT_THAT(EffectiveCapabilities({"CAP_CHOWN"}, {"ALL"}, false), ElementsAre("CAP_CHOWN"));
  EXPECT_THAT(EffectiveCapabilities({"ALL"}, {"CAP_CHOWN"}, false), SizeIs(41));
  EXPECT_THAT(EffectiveCapabilities({"CAP_SYS_ADMIN"}, {"CAP_KILL"}, false),
              testing::AllOf(Contains("CAP_SYS_ADMIN"), Not(Contains("CAP_KILL"))));
  EXPECT_THAT(EffectiveCapabilities({}, {}, true), SizeIs(41));
}

TEST(RunParameters, Hostnames) {
  for (const char* good : {"a", "web-1", "a.example.com", "X9"}) {
    EXPECT_TRUE(ValidateHostname(good).ok()) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("-a"), std::string("a-"), std::string("a..b"),
        std::string("a b"), std::string("a\n"), std::string(64, 'a'), std::string("a/b")}) {
    EXPECT_FALSE(ValidateHostname(bad).ok()) << bad;
  }
}

TEST(RunParameters, LabelsAndSysctls) {
  EXPECT_EQ(ParseLabel("a=b=c")->second, "b=c");
  EXPECT_EQ(ParseLabel("a")->second, "");
  EXPECT_FALSE(ParseLabel("").ok());
  EXPECT_FALSE(ParseLabel("=x").ok());
  EXPECT_EQ(ParseSysctl("net.ipv4.ip_forward=1")->first, "net.ipv4.ip_forward");
  EXPECT_TRUE(ParseSysctl("kernel.sem=250 32000 32 128").ok());
  for (const char* bad : {"", "net.core.somaxconn", "net.core.somaxconn=", "somaxconn=1", "=1",
                          "net..x=1", "net./../x=1", "net.a b=1", "dev.tty.x=1", "sys/kernel=1"}) {
    EXPECT_FALSE(ParseSysctl(bad).ok()) << bad;
  }
}

TEST(RunParameters, Tmpfs) {
  EXPECT_EQ(*ParseTmpfs("/run"), (TmpfsMount{"/run", {}}));
  EXPECT_EQ(*ParseTmpfs("/a b:size=64m,mode=1777,exec"),
            (TmpfsMount{"/a b", {"size=64m", "mode=1777", "exec"}}));
  for (const char* bad :
       {"", "run", "/", "//", "/a/../b", "/a:", "/a:size=0", "/a:size=-1", "/a:mode=9", "/a:uid=x",
        "/a:size=200%", "/a:what", "/a:exec,", "/a:nr_inodes=0"}) {
    EXPECT_FALSE(ParseTmpfs(bad).ok()) << bad;
  }
}

TEST(RunParameters, Hosts) {
  EXPECT_EQ(*ParseHostEntry("db:10.0.0.1"), (HostEntry{"db", "10.0.0.1"}));
  EXPECT_EQ(*ParseHostEntry("db:::1"), (HostEntry{"db", "::1"}));
  EXPECT_EQ(*ParseHostEntry("db:[fe80::1]"), (HostEntry{"db", "fe80::1"}));
  for (const char* bad : {"", "db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "db:name"}) {
    EXPECT_FALSE(ParseHostEntry(bad).ok()) << bad;
  }
}

TEST(RunParameters, PathsAndIds) {
  EXPECT_THAT(ExtendPaths({"/a"}, {"/b"}), ElementsAre("/a", "/b"));
  EXPECT_THAT(ExtendPaths({"/a"}, {"/b", "NONE", "/c"}), ElementsAre("/c"));
  EXPECT_EQ(*ParseId("4294967294"), 4294967294u);
  for (const char* bad : {"", "-1", "+1", "x", "4294967295", "1.5"}) {
    EXPECT_FALSE(ParseId(bad).ok()) << bad;
  }
  EXPECT_FALSE(ValidateShmSize(0).ok());
  EXPECT_TRUE(ValidateShmSize(1 << 20).ok());
}

}  // namespace
}  // namespace container::model
