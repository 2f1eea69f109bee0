#include "base/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "base/process_identity.h"
#include "base/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::base {
namespace {

using std::chrono::milliseconds;

SubprocessSpec Shell(const std::string& script) {
  return {.program = "sh", .arguments = {"-c", script}};
}

TEST(SubprocessTest, TellsHowTheChildEnded) {
  EXPECT_EQ(*Subprocess::Spawn(Shell("exit 7"))->Wait(), (ProcessEnd{7, 0}));
  ProcessEnd killed = *Subprocess::Spawn(Shell("kill -9 $$"))->Wait();
  EXPECT_EQ(killed, (ProcessEnd{0, SIGKILL}));
  EXPECT_EQ(killed.ShellStatus(), 137);
}

TEST(SubprocessTest, AProgramThatIsNotThereIsAnErrorOfSpawn) {
  EXPECT_EQ(Subprocess::Spawn({.program = "/no/such/program"}).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(Subprocess::Spawn({.program = "/etc/passwd"}).status().code(),
            absl::StatusCode::kPermissionDenied);
}

TEST(SubprocessTest, InheritsExactlyTheNamedDescriptors) {
  // Opened without close-on-exec, as a careless library would.
  Fd careless(::open("/dev/null", O_RDONLY));
  Fd named(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  FdPair out = *MakePipe();
  SubprocessSpec spec = Shell("cd /proc/self/fd && echo * && readlink 5");
  spec.fds = {{out.second.get(), 1}, {named.get(), 5}};
  Subprocess child = *Subprocess::Spawn(spec);
  out.second.Reset();
  // The shell itself opens the folder to expand the star.
  EXPECT_THAT(*ReadAll(out.first.get(), 1000),
              ::testing::AnyOf("0 1 2 3 5\n/dev/zero\n", "0 1 2 4 5\n/dev/zero\n",
                               "0 1 2 5 6\n/dev/zero\n"));
  EXPECT_EQ(*child.Wait(), ProcessEnd{});
}

TEST(SubprocessTest, DescriptorsMayChangePlaces) {
  Fd a(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  Fd b(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
  FdPair out = *MakePipe();
  SubprocessSpec spec = Shell("readlink /proc/self/fd/" + std::to_string(b.get()) +
                              "; readlink /proc/self/fd/" + std::to_string(a.get()));
  spec.fds = {{out.second.get(), 1}, {a.get(), b.get()}, {b.get(), a.get()}};
  Subprocess child = *Subprocess::Spawn(spec);
  out.second.Reset();
  EXPECT_EQ(*ReadAll(out.first.get(), 1000), "/dev/null\n/dev/zero\n");
  child.Wait().IgnoreError();
}

TEST(SubprocessTest, WaitForHasADeadlineAndKillEnds) {
  Subprocess child = *Subprocess::Spawn(Shell("trap '' TERM; while :; do sleep 1; done"));
  EXPECT_EQ(*child.WaitFor(milliseconds(50)), std::nullopt);
  // SIGTERM may come before the trap is set; both ends are right.
  ProcessEnd end = *child.TerminateOrKill(milliseconds(100));
  EXPECT_TRUE(end.signal == SIGKILL || end.signal == SIGTERM);
  EXPECT_EQ(child.Signal(SIGTERM).code(), absl::StatusCode::kNotFound);
}

TEST(SubprocessTest, TheDestructorKills) {
  Fd pidfd;
  {
    Subprocess child = *Subprocess::Spawn(Shell("exec sleep 100"));
    pidfd = *Duplicate(child.pidfd());
  }
  EXPECT_TRUE(*PollFd(pidfd.get(), POLLIN, milliseconds(5000)));
}

TEST(SubprocessTest, RunCommandKeepsStreamsApartAndIsBounded) {
  CommandResult result = *RunCommand(Shell("echo out; echo err >&2; exit 3"), milliseconds(10000));
  EXPECT_EQ(result.standard_output, "out\n");
  EXPECT_EQ(result.standard_error, "err\n");
  EXPECT_EQ(result.end.exit_code, 3);
  EXPECT_EQ(RunCommand(Shell("exec sleep 100"), milliseconds(100)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST(ProcessIdentityTest, KnowsAProcessFromItsSuccessor) {
  Subprocess child = *Subprocess::Spawn(Shell("exec sleep 100"));
  ProcessIdentity identity = *IdentifyProcess(child.pid());
  EXPECT_TRUE(OpenProcess(identity).ok());
  ProcessIdentity other = identity;
  other.start_ticks += 1;
  EXPECT_EQ(OpenProcess(other).status().code(), absl::StatusCode::kNotFound);
  child.TerminateOrKill(milliseconds(0)).IgnoreError();
  EXPECT_EQ(OpenProcess(identity).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace container::base
