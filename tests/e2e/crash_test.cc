// Processes killed at the worst moment: what must die with them dies, the rest goes on, and nothing
// is stuck.
#include <signal.h>

#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unix_socket.h"
#include "e2e/system_fixture.h"
#include "e2e/terminal.h"
#include "gmock/gmock.h"
#include "model/container.h"

namespace container::e2e {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class CrashTest : public SystemTest {
 protected:
  static model::ContainerStatus Status(const std::string& id) {
    Result result = Run({"inspect", id});
    EXPECT_EQ(result.status, 0) << result;
    // `inspect` prints an array of one.
    const size_t begin = result.out.find('{');
    const size_t end = result.out.rfind('}');
    if (begin == std::string::npos || end == std::string::npos) return {};
    auto object = model::ParseContainerObject(result.out.substr(begin, end - begin + 1));
    EXPECT_TRUE(object.ok()) << object.status();
    return object.ok() ? object->status : model::ContainerStatus();
  }
  static void RunDetached(const std::string& id) {
    Result result = Run({"run", "-d", "--name", id, "-m", "256M", "first", "sleep", "1000"});
    ASSERT_EQ(result.status, 0) << result;
  }
  static int HelperOf(const std::string& id) {
    auto text = base::ReadFile(instance().Bundle(id) + "/helper.json");
    EXPECT_TRUE(text.ok()) << text.status();
    auto record = model::HelperRecord::FromJson(text.ok() ? *text : "{}");
    return record.ok() ? record->pid : 0;
  }
  /// The QEMU that a helper started.
  static int VmOf(int helper) {
    for (pid_t pid : instance().Processes("qemu-system")) {
      auto stat = base::ReadFile(absl::StrCat("/proc/", pid, "/status"));
      if (stat.ok() && absl::StrContains(*stat, absl::StrCat("PPid:\t", helper, "\n"))) return pid;
    }
    return 0;
  }
  static bool Alive(pid_t pid) { return ::kill(pid, 0) == 0; }
  static int Apiserver() {
    auto pids = instance().Processes("container-apiserver");
    EXPECT_THAT(pids, SizeIs(1));
    return pids.empty() ? 0 : pids[0];
  }
};

TEST_F(CrashTest, AKilledHelperTakesItsOwnContainerAlone) {
  RunDetached("victim");
  RunDetached("bystander");
  const int helper = HelperOf("victim");
  const int vm = VmOf(helper);
  ASSERT_GT(helper, 0);
  ASSERT_GT(vm, 0);
  ASSERT_EQ(::kill(helper, SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return !Alive(vm); })) << "the VM outlived its helper";
  EXPECT_TRUE(Eventually([&] { return Status("victim").state == "stopped"; }));
  EXPECT_NE(Status("victim").error, "");
  EXPECT_EQ(Status("bystander").state, "running");
  EXPECT_EQ(Run({"exec", "bystander", "echo", "fine"}).out, "fine\n");
  // Nothing is stuck: it starts again.
  EXPECT_EQ(Run({"start", "victim"}).status, 0);
  EXPECT_EQ(Run({"exec", "victim", "echo", "again"}).out, "again\n");
  EXPECT_EQ(Run({"rm", "-f", "victim", "bystander"}).status, 0);
}

TEST_F(CrashTest, AKilledVmEndsItsContainerAtOnce) {
  RunDetached("vmless");
  const int vm = VmOf(HelperOf("vmless"));
  ASSERT_GT(vm, 0);
  ASSERT_EQ(::kill(vm, SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return Status("vmless").state == "stopped"; }));
  EXPECT_NE(Status("vmless").error, "");
  EXPECT_EQ(Run({"start", "vmless"}).status, 0);
  EXPECT_EQ(Run({"rm", "-f", "vmless"}).status, 0);
}

TEST_F(CrashTest, ContainersOutliveTheApiserver) {
  RunDetached("survivor");
  const int helper = HelperOf("survivor");
  const int vm = VmOf(helper);
  const std::string boot_id =
      Run({"exec", "survivor", "cat", "/proc/sys/kernel/random/boot_id"}).out;
  ASSERT_EQ(boot_id.size(), 37u);
  const int apiserver = Apiserver();
  ASSERT_EQ(::kill(apiserver, SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return !Alive(apiserver); }));
  Result down = Run({"list"});
  EXPECT_EQ(down.status, 1) << down;
  EXPECT_THAT(down.err, HasSubstr("container system start"));
  EXPECT_TRUE(Alive(helper));
  EXPECT_TRUE(Alive(vm));

  ASSERT_EQ(Run({"system", "start"}).status, 0);
  EXPECT_EQ(Status("survivor").state, "running");
  EXPECT_EQ(Run({"exec", "survivor", "cat", "/proc/sys/kernel/random/boot_id"}).out, boot_id);
  EXPECT_EQ(Run({"stop", "-t", "0", "survivor"}).status, 0);
  EXPECT_EQ(Status("survivor").exit_code, 137);
  EXPECT_EQ(Run({"rm", "survivor"}).status, 0);
}

TEST_F(CrashTest, AnEndWhileTheApiserverIsDownIsNotLost) {
  ASSERT_EQ(Run({"run", "-d", "--name", "brief", "-m", "256M", "first", "sh", "-c",
                 "while [ ! -e /go ]; do sleep 0.1; done; exit 11"})
                .status,
            0);
  const int helper = HelperOf("brief");
  // Runs on inside the guest when nobody is there to ask for it.
  ASSERT_EQ(Run({"exec", "-d", "brief", "sh", "-c", "sleep 3; touch /go"}).status, 0);
  ASSERT_EQ(::kill(Apiserver(), SIGKILL), 0);
  EXPECT_TRUE(Eventually([&] { return !Alive(helper); }));
  ASSERT_EQ(Run({"system", "start"}).status, 0);
  EXPECT_EQ(Status("brief").state, "stopped");
  EXPECT_EQ(Status("brief").exit_code, 11);
  EXPECT_EQ(Run({"rm", "brief"}).status, 0);
}

TEST_F(CrashTest, AnAttachedSessionOutlivesTheApiserver) {
  Terminal terminal(instance().Spec({"run", "-it", "--name", "session", "first", "sh"}), 24, 80);
  terminal.Type("echo re''ady\n");
  ASSERT_TRUE(terminal.WaitForText("ready")) << terminal.seen();
  ASSERT_EQ(::kill(Apiserver(), SIGKILL), 0);
  terminal.Type("echo still $((40 + 2))\n");
  EXPECT_TRUE(terminal.WaitForText("still 42")) << terminal.seen();
  ASSERT_EQ(Run({"system", "start"}).status, 0);
  terminal.Type("exit 3\n");
  EXPECT_EQ(terminal.WaitForExit(), 3) << terminal.seen();
  EXPECT_EQ(Run({"rm", "session"}).status, 0);
}

TEST_F(CrashTest, AKilledImageHelperComesBack) {
  const auto helpers = instance().Processes("container-core-images");
  ASSERT_THAT(helpers, SizeIs(1));
  ASSERT_EQ(::kill(helpers[0], SIGKILL), 0);
  ASSERT_TRUE(Eventually([&] { return !Alive(helpers[0]); }));
  Result images;
  EXPECT_TRUE(Eventually([&] { return (images = Run({"image", "list"})).status == 0; })) << images;
  EXPECT_THAT(images.out, HasSubstr("first"));
  EXPECT_EQ(Run({"run", "--rm", "first", "echo", "fine"}).out, "fine\n");
}

TEST_F(CrashTest, AClientKilledInTheMiddleLeavesNothingStuck) {
  const std::string out = instance().folder() + "/client.out";
  base::Subprocess client =
      instance().Start({"run", "--name", "orphan", "first", "sh", "-c", "echo up; exec sleep 1000"},
                       out, out + ".err");
  ASSERT_TRUE(Eventually([&] { return *base::ReadFile(out) == "up\n"; }));
  ASSERT_TRUE(client.Signal(SIGKILL).ok());
  ASSERT_TRUE(client.Wait().ok());
  EXPECT_EQ(Status("orphan").state, "running");
  EXPECT_EQ(Run({"logs", "orphan"}).out, "up\n");
  EXPECT_EQ(Run({"rm", "-f", "orphan"}).status, 0);
}

}  // namespace
}  // namespace container::e2e
