#include "vminitd/process_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace container::vminitd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr char kPasswd[] = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\n";
constexpr char kGroup[] = "root:x:0:\nwheel:x:10:app\n";

v1::ProcessSpec Minimal() {
  v1::ProcessSpec spec;
  spec.add_arguments("true");
  return spec;
}

TEST(ProcessPlanTest, Defaults) {
  absl::StatusOr<ProcessPlan> plan = PlanProcess(Minimal(), kPasswd, kGroup);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->arguments, ElementsAre("true"));
  EXPECT_THAT(plan->environment,
              ElementsAre("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                          "HOME=/root"));
  EXPECT_THAT(plan->candidates,
              ElementsAre("/usr/local/sbin/true", "/usr/local/bin/true", "/usr/sbin/true",
                          "/usr/bin/true", "/sbin/true", "/bin/true"));
  EXPECT_EQ(plan->working_directory, "/");
  EXPECT_EQ(plan->user.uid, 0u);
  EXPECT_EQ(plan->capabilities, 0u);
  EXPECT_TRUE(plan->searched);
}

TEST(ProcessPlanTest, EnvironmentOfTheSpecificationWins) {
  EXPECT_THAT(CompleteEnvironment({"HOME=/x", "PATH=/p", "PATHS=1", "TERM=vt100"}, "/root", true),
              ElementsAre("HOME=/x", "PATH=/p", "PATHS=1", "TERM=vt100"));
  EXPECT_THAT(CompleteEnvironment({"PATH=/p", "HOMER=1"}, "/h", true),
              ElementsAre("PATH=/p", "HOMER=1", "HOME=/h", "TERM=xterm"));
}

TEST(ProcessPlanTest, Everything) {
  v1::ProcessSpec spec;
  spec.add_arguments("./tool");
  spec.add_arguments("");
  spec.add_environment("PATH=/a");
  spec.add_environment("EMPTY=");
  spec.set_working_directory("/srv/app");
  spec.set_user("app");
  spec.add_supplemental_groups(7);
  spec.set_terminal(true);
  spec.add_capabilities("CAP_CHOWN");
  spec.set_no_new_privileges(true);
  v1::Rlimit* limit = spec.add_rlimits();
  limit->set_type("RLIMIT_NOFILE");
  limit->set_soft(10);
  limit->set_hard(~uint64_t{0});
  absl::StatusOr<ProcessPlan> plan = PlanProcess(spec, kPasswd, kGroup);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->arguments, ElementsAre("./tool", ""));
  EXPECT_THAT(plan->candidates, ElementsAre("./tool"));
  EXPECT_FALSE(plan->searched);
  EXPECT_EQ(plan->user, (User{1000, 1001, {7, 10}, "/home/app"}));
  EXPECT_EQ(plan->capabilities, 1u);
  ASSERT_EQ(plan->limits.size(), 1u);
  EXPECT_EQ(plan->limits[0].resource, RLIMIT_NOFILE);
  EXPECT_EQ(plan->limits[0].value.rlim_cur, 10u);
  EXPECT_EQ(plan->limits[0].value.rlim_max, RLIM_INFINITY);
}

TEST(ProcessPlanTest, MalformedSpecificationsAreErrors) {
  std::vector<v1::ProcessSpec> bad(9, Minimal());
  bad[0].clear_arguments();
  bad[1].set_arguments(0, "");
  bad[2].add_arguments(std::string("a\0b", 3));
  bad[3].add_environment("NOVALUE");
  bad[4].add_environment("=x");
  bad[5].set_working_directory("relative");
  bad[6].add_rlimits()->set_type("RLIMIT_SPEED");
  bad[7].add_capabilities("CHOWN");
  v1::Rlimit* limit = bad[8].add_rlimits();
  limit->set_type("RLIMIT_CPU");
  limit->set_soft(2);
  limit->set_hard(1);
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(ValidateProcessSpec(bad[i]).code(), absl::StatusCode::kInvalidArgument) << i;
    EXPECT_FALSE(PlanProcess(bad[i], kPasswd, kGroup).ok()) << i;
  }
}

TEST(ProcessPlanTest, CandidatesOfAPathWithEmptyEntries) {
  EXPECT_THAT(ExecCandidates("ls", "/bin::/usr/bin/"),
              ElementsAre("/bin/ls", "./ls", "/usr/bin//ls"));
  EXPECT_THAT(ExecCandidates("/bin/ls", "/usr"), ElementsAre("/bin/ls"));
}

TEST(ProcessPlanTest, FailuresReadAsDockers) {
  v1::ExecFailure failure = DescribeExecFailure("foo", true, false, ENOENT);
  EXPECT_EQ(failure.exit_code(), 127);
  EXPECT_EQ(failure.message(), "exec: \"foo\": executable file not found in $PATH");
  failure = DescribeExecFailure("/foo", false, false, ENOENT);
  EXPECT_EQ(failure.exit_code(), 127);
  EXPECT_EQ(failure.message(), "exec: \"/foo\": stat /foo: no such file or directory");
  EXPECT_EQ(DescribeExecFailure("/foo", false, true, ENOENT).exit_code(), 127);
  failure = DescribeExecFailure("/etc", false, true, EISDIR);
  EXPECT_EQ(failure.exit_code(), 126);
  EXPECT_THAT(failure.message(), HasSubstr("is a directory"));
  for (int number : {EACCES, ENOEXEC, ENOTDIR, E2BIG, ELOOP}) {
    EXPECT_EQ(DescribeExecFailure("x", true, true, number).exit_code(), 126) << number;
  }
}

}  // namespace
}  // namespace container::vminitd
