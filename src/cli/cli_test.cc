// Words to what they mean, and results to what is printed: by whole value.
#include <fcntl.h>

#include "base/fd.h"
#include "base/file.h"
#include "cli/app.h"
#include "cli/env_file.h"
#include "cli/images.h"
#include "cli/options.h"
#include "cli/output/format.h"
#include "cli/output/progress.h"
#include "cli/output/table.h"
#include "cli/run_options.h"
#include "cli/suggest.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace container::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

HostEnvironment FakeHost() {
  return [](const std::string& key) -> std::optional<std::string> {
    if (key == "HOST") return "from here";
    return std::nullopt;
  };
}

struct Parsed {
  CreateFlags flags;
  bool detach = false;
  std::optional<int> done;
};

std::unique_ptr<Parsed> ParseRun(std::vector<std::string> words) {
  auto parsed = std::make_unique<Parsed>();
  Invocation call{"container run", std::move(words)};
  OptionParser parser(call, "Runs.");
  parser.Flag("-d, --detach", &parsed->detach, "Detach");
  parsed->flags.Declare(parser);
  parsed->done = parser.Parse();
  return parsed;
}

TEST(RunOptionsTest, EveryOptionArrives) {
  const auto parsed = ParseRun({"--rm",
                                "-it",
                                "--name",
                                "box",
                                "-e",
                                "A=1",
                                "--env=B=2=3",
                                "-e",
                                "HOST",
                                "-e",
                                "ABSENT",
                                "-w",
                                "/srv",
                                "-u",
                                "1000:100",
                                "-c",
                                "2",
                                "--memory=512m",
                                "--entrypoint",
                                "/bin/app",
                                "--platform",
                                "linux/arm64/v8",
                                "alpine:3",
                                "sh",
                                "-c",
                                "--rm",
                                "--",
                                "-x"});
  ASSERT_EQ(parsed->done, std::nullopt);
  const auto options = parsed->flags.Resolve(FakeHost());
  ASSERT_TRUE(options.ok()) << options.status();
  model::CreateOptions expected;
  expected.id = "box";
  expected.image = "alpine:3";
  expected.platform = "linux/arm64/v8";
  expected.process.arguments = {"sh", "-c", "--rm", "--", "-x"};
  expected.process.environment = {"A=1", "B=2=3", "HOST=from here"};
  expected.process.working_directory = "/srv";
  expected.process.user = "1000:100";
  expected.process.terminal = true;
  expected.process.interactive = true;
  expected.entrypoint = "/bin/app";
  expected.cpus = 2;
  expected.memory_bytes = int64_t{512} << 20;
  expected.auto_remove = true;
  EXPECT_EQ(options->ToJson(), expected.ToJson());
}

TEST(RunOptionsTest, NothingGivenIsNothingSaid) {
  const auto parsed = ParseRun({"alpine"});
  const auto options = parsed->flags.Resolve(FakeHost());
  ASSERT_TRUE(options.ok());
  model::CreateOptions expected;
  expected.image = "alpine";
  EXPECT_EQ(options->ToJson(), expected.ToJson());
}

TEST(RunOptionsTest, AnEmptyEntrypointIsAValueAndNotTheNextWord) {
  for (std::vector<std::string> words :
       {std::vector<std::string>{"--entrypoint=", "alpine", "[a,b]"},
        std::vector<std::string>{"--entrypoint", "", "alpine", "[a,b]"}}) {
    const auto parsed = ParseRun(words);
    ASSERT_EQ(parsed->done, std::nullopt);
    EXPECT_EQ(parsed->flags.entrypoint, "");
    EXPECT_EQ(parsed->flags.image, "alpine");
    EXPECT_THAT(parsed->flags.arguments, ElementsAre("[a,b]"));
  }
}

TEST(RunOptionsTest, SpellingsOfOptions) {
  EXPECT_EQ(ParseRun({"-c2", "x"})->flags.cpus, 2);
  EXPECT_EQ(ParseRun({"-c=3", "x"})->flags.cpus, 3);
  EXPECT_TRUE(ParseRun({"-dit", "x"})->detach);
  EXPECT_FALSE(ParseRun({"--rm=false", "x"})->flags.auto_remove);
  EXPECT_EQ(ParseRun({"--name", "a", "--name", "b", "x"})->flags.name, "b");
  EXPECT_THAT(ParseRun({"--", "x", "--rm"})->flags.arguments, ElementsAre("--rm"));
  EXPECT_EQ(ParseRun({"--cwd", "/a", "x"})->flags.process.working_directory, "/a");
}

TEST(RunOptionsTest, WrongUsage) {
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{},
                                             {"--rm"},
                                             {"--nmae", "a", "x"},
                                             {"-c", "0", "x"},
                                             {"-c", "1.5", "x"},
                                             {"-m", "lots", "x"},
                                             {"-m"},
                                             {"--publish", "80:80", "x"},
                                             {"-p", "80:80", "x"},
                                             {"--rm=maybe", "x"},
                                             {"--scheme", "ftp", "x"},
                                             {"--progress", "loud", "x"},
                                             {""}}) {
    EXPECT_EQ(ParseRun(words)->done, kWrongUsage) << ::testing::PrintToString(words);
  }
  for (const std::vector<std::string>& words :
       std::vector<std::vector<std::string>>{{"-e", "=1", "x"},
                                             {"-e", "A B=1", "x"},
                                             {"-w", "relative", "x"},
                                             {"--platform", "linux/amd64", "-a", "arm64", "x"}}) {
    EXPECT_FALSE(ParseRun(words)->flags.Resolve(FakeHost()).ok())
        << ::testing::PrintToString(words);
  }
}

TEST(RunOptionsTest, Platforms) {
  EXPECT_EQ(*ParseRun({"-a", "arm64", "x"})->flags.platform.Resolve(), "linux/arm64");
  EXPECT_EQ(*ParseRun({"-a", "arm", "--os", "plan9", "x"})->flags.platform.Resolve(), "plan9/arm");
  EXPECT_EQ(*ParseRun({"x"})->flags.platform.Resolve(), "");
}

TEST(OptionParserTest, OperandsAndOptionsMixWithoutARest) {
  Invocation call{"container stop", {"a", "-t", "3", "b", "--", "-c"}};
  std::vector<std::string> ids;
  std::optional<int> seconds;
  OptionParser parser(call, "Stops.");
  parser.Value("-t, --time", "SECONDS", &seconds, 0, "How long");
  parser.Operands("CONTAINER", &ids, 1, "Ids");
  ASSERT_EQ(parser.Parse(), std::nullopt);
  EXPECT_EQ(seconds, 3);
  EXPECT_THAT(ids, ElementsAre("a", "b", "-c"));
}

TEST(OptionParserTest, HelpShowsAllThatThereIs) {
  Invocation call{"container stop", {}};
  std::vector<std::string> ids;
  OptionParser parser(call, "Stops containers.");
  parser.Operands("CONTAINER", &ids, 1, "The containers' ids");
  parser.Example("container stop web", "Stop one");
  EXPECT_EQ(parser.Help(),
            "Stops containers.\n"
            "\n"
            "Usage: container stop [options] CONTAINER...\n"
            "\n"
            "Arguments:\n"
            "  CONTAINER    The containers' ids\n"
            "\n"
            "Options:\n"
            "  -h, --help   Show this help\n"
            "      --debug  Show what is called and how long it takes\n"
            "\n"
            "Examples:\n"
            "  # Stop one\n"
            "  container stop web\n");
}

TEST(CommandsTest, EveryCommandHasHelp) {
  ::testing::internal::CaptureStdout();
  for (const Command& command : Commands()) {
    Invocation call{"container " + std::string(command.words), {"--help"}};
    EXPECT_EQ(command.run(call), kSuccess) << std::string(command.words);
  }
  EXPECT_EQ(Main({"help", "image", "pull"}), kSuccess);
  EXPECT_EQ(Main({"image", "--help"}), kSuccess);
  EXPECT_EQ(Main({"ps", "--help"}), kSuccess);
  EXPECT_EQ(Main({"--version"}), kSuccess);
  EXPECT_THAT(::testing::internal::GetCapturedStdout(), HasSubstr("container CLI version "));
}

TEST(CommandsTest, UnknownWordsAreWrongUsageWithASuggestion) {
  ::testing::internal::CaptureStderr();
  EXPECT_EQ(Main({"imgae", "pull"}), kWrongUsage);
  EXPECT_EQ(Main({"image", "pul"}), kWrongUsage);
  EXPECT_EQ(Main({"system", "kernel"}), kWrongUsage);
  EXPECT_EQ(Main({"--verison"}), kWrongUsage);
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("did you mean 'image'?"));
  EXPECT_THAT(text, HasSubstr("did you mean 'pull'?"));
  EXPECT_THAT(text, HasSubstr("did you mean '--version'?"));
}

TEST(SuggestTest, Distances) {
  EXPECT_EQ(EditDistance("", "abc"), 3u);
  EXPECT_EQ(EditDistance("rnu", "run"), 1u);
  EXPECT_EQ(EditDistance("kitten", "sitting"), 3u);
  EXPECT_EQ(Nearest("rnu", {"rm", "run", "start"}), "run");
  EXPECT_EQ(Nearest("zzz", {"rm", "run", "start"}), "");
  EXPECT_EQ(Nearest("insp", {"inspect", "image"}), "inspect");
}

TEST(EnvFileTest, WhatDockerReads) {
  const auto entries =
      ParseEnvFile("f", "# comment\n\n  A=1\nB= two words \nHOST\nABSENT\nC=#x\r\nD=", FakeHost());
  ASSERT_TRUE(entries.ok());
  EXPECT_THAT(*entries, ElementsAre("A=1", "B= two words ", "HOST=from here", "C=#x", "D="));
}

TEST(EnvFileTest, ErrorsNameTheLine) {
  const auto entries = ParseEnvFile("vars", "A=1\nbad key=2\n", FakeHost());
  EXPECT_THAT(std::string(entries.status().message()), HasSubstr("vars:2: "));
  EXPECT_FALSE(BuildEnvironment({"/no/such/file"}, {}, FakeHost()).ok());
}

TEST(EnvFileTest, FilesComeBeforeOptions) {
  const auto folder = base::TemporaryDirectory::Create();
  ASSERT_TRUE(base::WriteFileAtomically(folder->path() + "/env", "A=file\n").ok());
  EXPECT_THAT(*BuildEnvironment({folder->path() + "/env"}, {"A=option"}, FakeHost()),
              ElementsAre("A=file", "A=option"));
}

TEST(TableTest, AlignsAndNeverBreaks) {
  Table table({"ID", "IMAGE", "STATE"});
  table.Add({"a-rather-long-identifier", "größe", "running"});
  table.Add({"b", "", "bad\x1b[2J"});
  EXPECT_EQ(table.Render(),
            "ID                        IMAGE  STATE\n"
            "a-rather-long-identifier  größe  running\n"
            "b                         -      bad?[2J\n");
}

nlohmann::ordered_json Sample() {
  return nlohmann::ordered_json::parse(
      R"([{"id":"x1","n":3,"ok":true,"none":null,"time":"2026-01-01T00:00:00Z",
          "tricky":["yes","12","","a: b","/bin/sh"],"empty":[],"map":{"b":1.5,"a":{}}}])");
}

TEST(FormatTest, Json) {
  EXPECT_EQ(FormatJson(nlohmann::ordered_json::parse(R"([{"b":1,"a":[]}])")),
            "[\n  {\n    \"b\": 1,\n    \"a\": []\n  }\n]\n");
}

TEST(FormatTest, Yaml) {
  EXPECT_EQ(FormatYaml(Sample()),
            "- id: x1\n"
            "  \"n\": 3\n"
            "  ok: true\n"
            "  none: ~\n"
            "  time: \"2026-01-01T00:00:00Z\"\n"
            "  tricky:\n"
            "    - \"yes\"\n"
            "    - \"12\"\n"
            "    - \"\"\n"
            "    - \"a: b\"\n"
            "    - /bin/sh\n"
            "  empty: []\n"
            "  map:\n"
            "    b: 1.5\n"
            "    a: {}\n");
}

TEST(FormatTest, Toml) {
  const std::string text = FormatToml(Sample(), "containers");
  EXPECT_THAT(text, HasSubstr("[[containers]]"));
  EXPECT_THAT(text, ::testing::ContainsRegex("id = ['\"]x1['\"]"));
  EXPECT_THAT(text, HasSubstr("n = 3"));
  EXPECT_THAT(text, HasSubstr("b = 1.5"));
  EXPECT_THAT(text, ::testing::Not(HasSubstr("none")));
}

TEST(FormatTest, NamesOfFormats) {
  EXPECT_EQ(*ParseFormat("toml"), Format::kToml);
  EXPECT_FALSE(ParseFormat("xml").ok());
}

TEST(ImagesTest, Summary) {
  const auto image = SummarizeImage(
      R"({"id":"i","configuration":{"name":"docker.io/library/alpine:3.20",
          "descriptor":{"digest":"sha256:0123456789abcdef","size":1,"mediaType":"m"}},
          "variants":[{"platform":{"os":"linux","architecture":"arm64","variant":"v8"},
                       "digest":"sha256:ff","size":7}]})");
  ASSERT_TRUE(image.ok());
  EXPECT_EQ(image->repository, "alpine");
  EXPECT_EQ(image->tag, "3.20");
  EXPECT_EQ(ShortDigest(image->digest), "0123456789ab");
  ASSERT_EQ(image->variants.size(), 1u);
  EXPECT_EQ(image->variants[0].platform, "linux/arm64/v8");
  EXPECT_EQ(image->variants[0].size_bytes, 7);
  EXPECT_EQ(SummarizeImage(R"({"configuration":{"name":"127.0.0.1:5000/a/b:1"}})")->repository,
            "127.0.0.1:5000/a/b");
  EXPECT_FALSE(SummarizeImage("[]").ok());
  EXPECT_FALSE(SummarizeImage("{").ok());
}

/// What a Progress writes to a pipe.
std::string Shown(ProgressMode mode,
                  const std::function<void(Progress&, Progress::Clock::time_point)>& feed) {
  auto pipe = base::MakePipe();
  {
    Progress progress(mode, pipe->second.get());
    feed(progress, Progress::Clock::time_point() + std::chrono::hours(1));
  }
  pipe->second.Reset();
  return *base::ReadAll(pipe->first.get(), 1 << 20);
}

TEST(ProgressTest, PlainLinesAreFewAndWhole) {
  using std::chrono::seconds;
  EXPECT_EQ(Shown(ProgressMode::kPlain,
                  [](Progress& progress, Progress::Clock::time_point t) {
                    progress.Update({"a", "Fetching layer 1", 0, 4 << 20, true, false}, t);
                    progress.Update({"a", "Fetching layer 1", 1 << 20, 4 << 20, true, false},
                                    t + seconds(1));
                    progress.Update({"a", "Fetching layer 1", 2 << 20, 4 << 20, true, false},
                                    t + seconds(6));
                    progress.Update({"b", "Unpacking\x1b", 0, 0, false, false}, t + seconds(6));
                    progress.Update({"a", "Fetching layer 1", 4 << 20, 4 << 20, true, true},
                                    t + seconds(8));
                    progress.Update({"a", "Fetching layer 1", 4 << 20, 4 << 20, true, true},
                                    t + seconds(9));
                  }),
            "Fetching layer 1\n"
            "Fetching layer 1: 2.0 MiB of 4.0 MiB (50 %)\n"
            "Unpacking?\n"
            "Fetching layer 1: done, 4.0 MiB in 8.0 s\n");
}

TEST(ProgressTest, BarsAreRedrawnInPlaceAtABoundedRate) {
  const std::string text = Shown(ProgressMode::kAnsi, [](Progress& progress,
                                                         Progress::Clock::time_point t) {
    for (int i = 0; i < 1000; ++i) {
      progress.Update({"a", "Fetching", i, 1000, true, false}, t + std::chrono::milliseconds(i));
    }
  });
  size_t drawings = 0;
  for (size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 1)) {
    ++drawings;
  }
  EXPECT_LE(drawings, 12u);
  EXPECT_THAT(text, HasSubstr("\x1b[1A\r\x1b[2KFetching"));
  EXPECT_THAT(text, HasSubstr("999 B of 1000 B"));
  EXPECT_THAT(Shown(ProgressMode::kNone,
                    [](Progress& progress, Progress::Clock::time_point t) {
                      progress.Update({"a", "x", 0, 0, false, true}, t);
                    }),
              IsEmpty());
}

}  // namespace
}  // namespace container::cli
