// Containers from create to delete, and what is told of them on the way.
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "e2e/system_fixture.h"
#include "gmock/gmock.h"
#include "nlohmann/json.hpp"

namespace container::e2e {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

class LifecycleTest : public SystemTest {
 protected:
  static Json Inspect(const std::string& id) {
    Result result = Run({"inspect", id});
    EXPECT_EQ(result.status, 0) << result;
    Json json = Json::parse(result.out, nullptr, false);
    EXPECT_TRUE(json.is_array() && json.size() == 1) << result;
    return json.is_array() && !json.empty() ? json[0] : Json::object();
  }
  static std::string State(const std::string& id) {
    return Inspect(id)["status"].value("state", "");
  }
};

TEST_F(LifecycleTest, CreateStartStopStartDelete) {
  Result created = Run({"create", "--name", "life", "first", "sh", "-c",
                        "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.1; done"});
  ASSERT_EQ(created.status, 0) << created;
  EXPECT_EQ(created.out, "life\n");
  EXPECT_EQ(State("life"), "stopped");

  ASSERT_EQ(Run({"start", "life"}).status, 0);
  EXPECT_EQ(State("life"), "running");
  ASSERT_TRUE(Eventually([&] { return Run({"logs", "life"}).out == "up\n"; }));
  EXPECT_THAT(Run({"list"}).out, AllOf(HasSubstr("life"), HasSubstr("running")));

  ASSERT_EQ(Run({"stop", "life"}).status, 0);
  Json stopped = Inspect("life");
  EXPECT_EQ(stopped["status"]["state"], "stopped");
  EXPECT_EQ(stopped["status"]["exitCode"], 3);
  EXPECT_TRUE(stopped["status"].contains("finishedDate"));
  EXPECT_EQ(Run({"logs", "life"}).out, "up\nbye\n");
  EXPECT_THAT(Run({"list"}).out, Not(HasSubstr("life")));
  EXPECT_THAT(Run({"list", "-a"}).out, HasSubstr("life"));
  EXPECT_EQ(Run({"stop", "life"}).status, 0) << "stopping what is stopped is no error";

  // What was written stays.
  ASSERT_EQ(Run({"start", "life"}).status, 0);
  ASSERT_EQ(Run({"exec", "life", "sh", "-c", "echo kept >/data"}).status, 0);
  ASSERT_EQ(Run({"stop", "-t", "0", "life"}).status, 0);
  EXPECT_EQ(Inspect("life")["status"]["exitCode"], 137);
  ASSERT_EQ(Run({"start", "life"}).status, 0);
  EXPECT_EQ(Run({"exec", "life", "cat", "/data"}).out, "kept\n");

  Result refused = Run({"delete", "life"});
  EXPECT_EQ(refused.status, 1) << refused;
  EXPECT_THAT(refused.err, HasSubstr("running"));
  EXPECT_EQ(Run({"delete", "--force", "life"}).status, 0);
  EXPECT_EQ(Run({"inspect", "life"}).status, 1);
  EXPECT_FALSE(std::filesystem::exists(instance().Bundle("life")));
}

TEST_F(LifecycleTest, Exec) {
  ASSERT_EQ(Run({"run", "-d", "--name", "box", "-e", "X=1", "first", "sleep", "1000"}).status, 0);
  EXPECT_EQ(Run({"exec", "box", "sh", "-c", "echo $X; exit 4"}).status, 4);
  EXPECT_EQ(Run({"exec", "-e", "X=2", "-w", "/tmp", "-u", "nobody", "box", "sh", "-c",
                 "echo $X $(pwd) $(id -u)"})
                .out,
            "2 /tmp 65534\n");
  EXPECT_EQ(Run({"exec", "-i", "box", "cat"}, "through\n").out, "through\n");
  Result streams = Run({"exec", "box", "sh", "-c", "echo o; echo e >&2"});
  EXPECT_EQ(streams.out, "o\n");
  EXPECT_EQ(streams.err, "e\n");
  EXPECT_EQ(Run({"exec", "box", "no-such-program"}).status, 127);
  EXPECT_EQ(Run({"exec", "box", "/etc/group"}).status, 126);
  // One process namespace: the container's first process is seen.
  EXPECT_THAT(Run({"exec", "box", "ps"}).out, HasSubstr("sleep 1000"));
  // A child in the background that holds the output does not hold the command.
  EXPECT_EQ(Run({"exec", "box", "sh", "-c", "sleep 500 & echo done"}).out, "done\n");
  ASSERT_EQ(Run({"exec", "-d", "box", "sh", "-c", "echo detached >/tmp/d"}).status, 0);
  EXPECT_TRUE(Eventually([&] {
    return Run({"exec", "box", "cat", "/tmp/d"}).out == "detached\n";
  }));
  EXPECT_EQ(Run({"rm", "-f", "box"}).status, 0);
  Result gone = Run({"exec", "box", "true"});
  EXPECT_NE(gone.status, 0);
  EXPECT_THAT(gone.err, HasSubstr("box"));
}

TEST_F(LifecycleTest, LogsFollowUntilTheEnd) {
  ASSERT_EQ(Run({"run", "-d", "--name", "talker", "first", "sh", "-c",
                 "for i in 1 2 3 4 5; do echo line $i; sleep 0.3; done; echo last >&2"})
                .status,
            0);
  Result followed = Run({"logs", "-f", "talker"});
  EXPECT_EQ(followed.status, 0) << followed;
  EXPECT_EQ(followed.out, "line 1\nline 2\nline 3\nline 4\nline 5\n");
  EXPECT_EQ(followed.err, "last\n");
  EXPECT_EQ(Run({"logs", "-n", "2", "talker"}).out, "line 5\n");
  // The kernel is told to be quiet; its last word is none the less there.
  EXPECT_TRUE(Eventually([] {
    return absl::StrContains(Run({"logs", "--boot", "talker"}).out, "Restarting system");
  }));
  EXPECT_EQ(Run({"rm", "talker"}).status, 0);
}

TEST_F(LifecycleTest, StartAttached) {
  ASSERT_EQ(Run({"create", "-i", "--name", "filter", "first", "sh", "-c", "cat; exit 6"}).status,
            0);
  Result result = Run({"start", "-a", "-i", "filter"}, "abc\n");
  EXPECT_EQ(result.status, 6) << result;
  EXPECT_EQ(result.out, "abc\n");
  EXPECT_EQ(Run({"rm", "filter"}).status, 0);
}

TEST_F(LifecycleTest, Formats) {
  ASSERT_EQ(Run({"create", "--name", "shown", "-m", "256M", "-c", "1", "first"}).status, 0);
  Json list = Json::parse(Run({"list", "-a", "--format", "json"}).out, nullptr, false);
  ASSERT_TRUE(list.is_array());
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0], Inspect("shown"));
  EXPECT_EQ(list[0]["configuration"]["resources"]["memoryInBytes"], 256 << 20);
  EXPECT_EQ(list[0]["configuration"]["image"]["reference"], "docker.io/library/first:latest");
  EXPECT_EQ(Run({"list", "-a", "-q"}).out, "shown\n");
  EXPECT_THAT(Run({"list", "-a", "--format", "yaml"}).out, ContainsRegex("id: \"?shown"));
  EXPECT_THAT(Run({"list", "-a", "--format", "toml"}).out, ContainsRegex("id = ['\"]shown"));
  Result wrong = Run({"list", "--format", "xml"});
  EXPECT_EQ(wrong.status, 2) << wrong;
  EXPECT_EQ(Run({"rm", "shown"}).status, 0);
}

TEST_F(LifecycleTest, AllForms) {
  for (const char* id : {"all-1", "all-2"}) {
    ASSERT_EQ(Run({"run", "-d", "--name", id, "-m", "256M", "first", "sleep", "1000"}).status, 0);
  }
  EXPECT_EQ(Run({"kill", "-a"}).status, 0);
  EXPECT_TRUE(Eventually([&] { return Run({"list", "-q"}).out.empty(); }));
  EXPECT_EQ(Run({"start", "all-1", "all-2"}).status, 0);
  EXPECT_EQ(Run({"stop", "-t", "1", "-a"}).status, 0);
  EXPECT_EQ(Run({"list", "-q"}).out, "");
  EXPECT_EQ(Run({"rm", "-a"}).status, 0);
  EXPECT_EQ(Run({"list", "-a", "-q"}).out, "");
}

TEST_F(LifecycleTest, IdsAreMadeWhereNoneIsGiven) {
  Result created = Run({"create", "first"});
  ASSERT_EQ(created.status, 0) << created;
  EXPECT_THAT(created.out, ContainsRegex("^[0-9a-f]{8}-[0-9a-f]{4}-4"));
  EXPECT_EQ(Run({"rm", created.out.substr(0, 36)}).status, 0);
}

TEST_F(LifecycleTest, SystemStatusTellsWhatRuns) {
  Result status = Run({"system", "status"});
  EXPECT_EQ(status.status, 0) << status;
  EXPECT_THAT(status.out, AllOf(HasSubstr("container-core-images"), HasSubstr("tcg")));
  Json json = Json::parse(Run({"system", "status", "--format", "json"}).out, nullptr, false);
  EXPECT_FALSE(json.is_discarded());
  EXPECT_EQ(Run({"system", "version"}).status, 0);
  EXPECT_THAT(Run({"system", "logs"}).out, HasSubstr("container-apiserver"));
  // Starting what runs is no error.
  EXPECT_EQ(Run({"system", "start"}).status, 0);
}

}  // namespace
}  // namespace container::e2e
