// The options of run, create and exec, each seen from inside the container and in `inspect`.
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "e2e/system_fixture.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

namespace container::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

class OptionsTest : public SystemTest {
 protected:
  /// `run --rm OPTIONS first sh -c SCRIPT`.
  static Result Shell(std::vector<std::string> options, const std::string& script) {
    std::vector<std::string> arguments = {"run", "--rm", "-c", "1", "-m", "256m"};
    arguments.insert(arguments.end(), options.begin(), options.end());
    arguments.insert(arguments.end(), {"first", "sh", "-c", script});
    return Run(arguments);
  }
  static std::string Output(std::vector<std::string> options, const std::string& script) {
    Result result = Shell(std::move(options), script);
    EXPECT_EQ(result.status, 0) << result;
    return std::string(absl::StripSuffix(result.out, "\n"));
  }
};

TEST_F(OptionsTest, UsersAndLimits) {
  EXPECT_EQ(Output({"--ulimit", "nofile=100:200", "--ulimit", "core=0"},
                   "ulimit -Sn; ulimit -Hn; ulimit -c"),
            "100\n200\n0");
  EXPECT_EQ(Output({"--uid", "5", "--gid", "6"}, "id -u; id -g"), "5\n6");
  EXPECT_EQ(Output({"--gid", "7"}, "id -u; id -g"), "0\n7");
}

TEST_F(OptionsTest, ExecHasItsOwn) {
  ASSERT_EQ(
      Run({"run", "-d", "--name", "execs", "--ulimit", "nofile=100:200", "first", "sleep", "1000"})
          .status,
      0);
  Result result = Run({"exec", "--uid", "8", "--gid", "9", "--ulimit", "core=0", "execs", "sh",
                       "-c", "id -u; id -g; ulimit -n; ulimit -c"});
  EXPECT_EQ(result.out, "8\n9\n100\n0\n") << result;
  EXPECT_EQ(Run({"rm", "-f", "execs"}).status, 0);
}

TEST_F(OptionsTest, Capabilities) {
  const std::string bounding = "grep CapBnd /proc/self/status | cut -f2";
  EXPECT_EQ(Output({}, bounding), "00000000a80425fb");
  EXPECT_EQ(Output({"--cap-drop", "all"}, bounding), "0000000000000000");
  EXPECT_EQ(Output({"--cap-add", "Chown", "--cap-drop", "ALL"}, bounding), "0000000000000001");
  EXPECT_EQ(Output({"--cap-add", "CAP_NET_ADMIN"}, bounding), "00000000a80435fb");
  EXPECT_EQ(Output({"--cap-add", "ALL"}, bounding), "000001ffffffffff");
  EXPECT_NE(Shell({"--cap-drop", "CHOWN"}, "touch /f && chown 5 /f").status, 0);
}

TEST_F(OptionsTest, Privileged) {
  EXPECT_EQ(Output({"--privileged"},
                   "grep CapBnd /proc/self/status | cut -f2; mkdir /m && mount -t tmpfs x /m && "
                   "echo 1 > /proc/sys/net/ipv4/ip_forward && mkdir /sys/fs/cgroup/sub && "
                   "test -b /dev/vda && echo fine"),
            "000001ffffffffff\nfine");
  EXPECT_NE(Shell({}, "mkdir /m && mount -t tmpfs x /m").status, 0);
}

TEST_F(OptionsTest, FileSystems) {
  EXPECT_EQ(Output({"--read-only", "--tmpfs", "/scratch:size=1m,mode=700"},
                   "touch /new 2>/dev/null && echo written; touch /scratch/f && "
                   "stat -c %a /scratch; df -k /scratch | tail -1 | awk '{print $2}'"),
            "700\n1024");
  EXPECT_THAT(Output({"--tmpfs", "/run"}, "grep ' /run ' /proc/mounts"),
              AllOf(HasSubstr("nosuid"), HasSubstr("nodev"), HasSubstr("noexec")));
  EXPECT_EQ(Output({"--shm-size", "8m"}, "df -k /dev/shm | tail -1 | awk '{print $2}'"), "8192");
  EXPECT_EQ(Output({}, "df -k /dev/shm | tail -1 | awk '{print $2}'"), "65536");
}

TEST_F(OptionsTest, MaskedAndReadOnlyPaths) {
  EXPECT_EQ(Output({"--cap-add", "NET_ADMIN", "--masked-path", "/etc/passwd", "--masked-path",
                    "/home", "--read-only-path", "/tmp"},
                   "cat /etc/passwd; ls /home; touch /tmp/x 2>/dev/null || echo refused; "
                   "/bin/busybox true && echo 1 2>/dev/null >/proc/sys/net/ipv4/ip_forward || "
                   "echo protected"),
            "refused\nprotected");
  EXPECT_EQ(Output({"--cap-add", "NET_ADMIN", "--masked-path", "NONE", "--read-only-path", "NONE"},
                   "echo 0 > /proc/sys/net/ipv4/ip_forward && echo open"),
            "open");
}

TEST_F(OptionsTest, NamesAndHosts) {
  EXPECT_EQ(Output({"--hostname", "box.example", "--add-host", "db:10.1.2.3"},
                   "hostname; cat /etc/hostname; echo $HOSTNAME; grep db /etc/hosts"),
            "box.example\nbox.example\nbox.example\n10.1.2.3\tdb");
}

TEST_F(OptionsTest, Sysctls) {
  EXPECT_EQ(Output({"--sysctl", "net.core.somaxconn=77", "--sysctl", "kernel.shmmni=55", "--sysctl",
                    "net.ipv4.ip_unprivileged_port_start=99"},
                   "cat /proc/sys/net/core/somaxconn /proc/sys/kernel/shmmni "
                   "/proc/sys/net/ipv4/ip_unprivileged_port_start"),
            "77\n55\n99");
  Result missing = Shell({"--sysctl", "net.core.nothing=1"}, "true");
  EXPECT_EQ(missing.status, 125);
  EXPECT_THAT(missing.err, AllOf(HasSubstr("net.core.nothing"), HasSubstr("no such parameter")));
  Result refused = Shell({"--sysctl", "net.core.somaxconn=many"}, "true");
  EXPECT_EQ(refused.status, 125);
  EXPECT_THAT(refused.err, AllOf(HasSubstr("net.core.somaxconn"), HasSubstr("many")));
}

TEST_F(OptionsTest, Init) {
  EXPECT_EQ(Output({"--init"}, "cat /proc/1/comm; test $$ -ne 1 && echo child"), "init\nchild");
  EXPECT_EQ(Shell({"--init"}, "exit 7").status, 7);
  EXPECT_EQ(Shell({"--init"}, "kill -9 $$").status, 137);
  EXPECT_EQ(Run({"run", "--rm", "--init", "first", "/no/such"}).status, 127);
  EXPECT_EQ(Run({"run", "--rm", "--init", "first", "/etc/passwd"}).status, 126);
  // Orphans are reaped, and signals passed on.
  EXPECT_EQ(Output({"--init"}, "(sleep 0.1 &) ; sleep 0.5; ps -o stat | grep -c Z || true"), "0");
  ASSERT_EQ(Run({"run", "-d", "--init", "--name", "inited", "first", "sleep", "1000"}).status, 0);
  EXPECT_EQ(Run({"exec", "inited", "cat", "/proc/1/comm"}).out, "init\n");
  ASSERT_EQ(Run({"stop", "-t", "60", "inited"}).status, 0);
  EXPECT_THAT(Run({"inspect", "inited"}).out, HasSubstr("143"));
  EXPECT_EQ(Run({"rm", "inited"}).status, 0);
}

TEST_F(OptionsTest, InspectShowsThem) {
  ASSERT_EQ(Run({"create",
                 "--name",
                 "shown",
                 "-l",
                 "a=b",
                 "--label",
                 "c",
                 "--cap-add",
                 "net_raw",
                 "--cap-drop",
                 "all",
                 "--read-only",
                 "--init",
                 "--shm-size",
                 "1m",
                 "--sysctl",
                 "net.core.somaxconn=7",
                 "--ulimit",
                 "nofile=5",
                 "--tmpfs",
                 "/run",
                 "--masked-path",
                 "NONE",
                 "--stop-signal",
                 "SIGINT",
                 "--stop-timeout",
                 "9",
                 "first"})
                .status,
            0);
  Result inspected = Run({"inspect", "shown"});
  const auto json = nlohmann::json::parse(inspected.out, nullptr, false);
  ASSERT_TRUE(json.is_array()) << inspected;
  const auto& c = json[0]["configuration"];
  EXPECT_EQ(c["labels"]["a"], "b");
  EXPECT_EQ(c["labels"]["c"], "");
  EXPECT_EQ(c["capAdd"][0], "CAP_NET_RAW");
  EXPECT_EQ(c["capDrop"][0], "ALL");
  EXPECT_EQ(c["readOnly"], true);
  EXPECT_EQ(c["useInit"], true);
  EXPECT_EQ(c["shmSize"], 1 << 20);
  EXPECT_EQ(c["sysctls"]["net.core.somaxconn"], "7");
  EXPECT_EQ(c["initProcess"]["rlimits"][0]["limit"], "RLIMIT_NOFILE");
  EXPECT_EQ(c["mounts"][0]["destination"], "/run");
  EXPECT_TRUE(c["maskedPaths"].is_array() && c["maskedPaths"].empty());
  EXPECT_EQ(c["stopSignal"], "SIGINT");
  EXPECT_EQ(c["stopTimeoutMs"], 9000);
  EXPECT_EQ(Run({"rm", "shown"}).status, 0);
}

TEST_F(OptionsTest, PullAndKernel) {
  Result never = Run({"run", "--rm", "--pull", "never", "no-such-image", "true"});
  EXPECT_EQ(never.status, 125);
  EXPECT_THAT(never.err, HasSubstr("no-such-image"));
  // Nobody listens there: "always" asks although the image is there.
  EXPECT_EQ(Run({"run", "--rm", "--pull", "always", "127.0.0.1:9/first", "true"}).status, 125);

  const std::string kernel = instance().folder() + "/own-kernel";
  std::filesystem::copy_file(BuildDir() + "/share/container/vmlinux", kernel);
  EXPECT_EQ(Output({"-k", kernel}, "echo booted"), "booted");
  Result junk = Run({"run", "--rm", "-k", "/etc/passwd", "first", "true"});
  EXPECT_EQ(junk.status, 125);
  EXPECT_THAT(junk.err, HasSubstr("kernel"));
}

TEST_F(OptionsTest, WaitAndRestart) {
  ASSERT_EQ(Run({"run", "-d", "--name", "again", "first", "sh", "-c",
                 "echo run >>/runs; test $(wc -l </runs) = 2 && exit 6; exec sleep 1000"})
                .status,
            0);
  ASSERT_TRUE(Eventually([] { return Run({"exec", "again", "cat", "/runs"}).out == "run\n"; }));
  Result restarted = Run({"restart", "-t", "0", "again"});
  EXPECT_EQ(restarted.out, "again\n") << restarted;
  Result waited = Run({"wait", "again"});
  EXPECT_EQ(waited.status, 0);
  EXPECT_EQ(waited.out, "6\n") << waited;
  EXPECT_EQ(Run({"rm", "again"}).status, 0);
  EXPECT_EQ(Run({"wait", "never-was"}).status, 1);
  EXPECT_EQ(Run({"restart", "again"}).status, 1);
  EXPECT_EQ(Run({"wait"}).status, 2);
  EXPECT_EQ(Run({"restart", "-t", "-1", "again"}).status, 2);
}

TEST_F(OptionsTest, BadValuesAreWrongUsage) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> bad = {
      {"--ulimit", {"", "nofile", "nofile=2:1", "nofile=-5", "what=1"}},
      {"--uid", {"", "-1", "x", "4294967295"}},
      {"--gid", {"", "-1", "x"}},
      {"--cap-add", {"", "FLY"}},
      {"--cap-drop", {"", "FLY"}},
      {"--hostname", {"", "a b", "-a", std::string(64, 'a')}},
      {"--label", {"", "=x"}},
      {"--stop-signal", {"", "NOT", "99"}},
      {"--stop-timeout", {"", "-1", "x"}},
      {"--shm-size", {"", "0", "-1", "big"}},
      {"--tmpfs", {"", "run", "/", "/run:size=-1", "/run:what"}},
      {"--sysctl", {"", "x=1", "net.core.somaxconn", "../x=1", "dev.x=1"}},
      {"--masked-path", {"", "etc", "/a/../b"}},
      {"--read-only-path", {"", "none", "/a/../b"}},
      {"--add-host", {"", "db", "db:", "db:x"}},
      {"--pull", {"", "sometimes"}},
      {"--kernel", {"/no/such/file"}},
  };
  for (const auto& [option, values] : bad) {
    for (const std::string& value : values) {
      Result result = Run({"run", absl::StrCat(option, "=", value), "first"});
      EXPECT_EQ(result.status, 2) << option << "=" << value << "\n" << result;
      EXPECT_THAT(result.err, AllOf(StartsWith("Error: "), HasSubstr(option)));
    }
  }
  EXPECT_EQ(Run({"run", "-u", "5", "--uid", "5", "first"}).status, 2);
  EXPECT_EQ(Run({"exec", "-u", "5:6", "--gid", "6", "x1", "true"}).status, 2);
  EXPECT_THAT(Run({"list", "-a", "-q"}).out, Not(HasSubstr("-")));
}

}  // namespace
}  // namespace container::e2e
