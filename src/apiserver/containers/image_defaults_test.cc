#include "apiserver/containers/image_defaults.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::apiserver {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const CreateDefaults kDefaults = {.cpus = 4, .memory_bytes = 1 << 30, .host_cpus = 2};

ImageConfig Nginx() {
  return ParseImageConfig(R"({"architecture":"amd64","config":{
      "Entrypoint":["/entry.sh","--"],"Cmd":["nginx","-g"],"Env":["PATH=/bin","V=1"],
      "User":"www","WorkingDir":"/srv","StopSignal":"SIGQUIT","Labels":{"a":"b"}}})")
      .value();
}

std::vector<std::string> Argv(const model::ContainerConfiguration& configuration) {
  std::vector<std::string> argv = {configuration.init_process.executable};
  argv.insert(argv.end(), configuration.init_process.arguments.begin(),
              configuration.init_process.arguments.end());
  return argv;
}

TEST(ImageDefaults, TheImageFillsWhatTheUserLeavesOpen) {
  model::CreateOptions options;
  options.image = "nginx";
  auto made = MakeConfiguration("web", options, Nginx(), kDefaults);
  ASSERT_TRUE(made.ok());
  EXPECT_THAT(Argv(*made), ElementsAre("/entry.sh", "--", "nginx", "-g"));
  EXPECT_THAT(made->init_process.environment, ElementsAre("PATH=/bin", "HOSTNAME=web", "V=1"));
  EXPECT_EQ(made->init_process.user, "www");
  EXPECT_EQ(made->init_process.working_directory, "/srv");
  EXPECT_EQ(made->stop_signal, "SIGQUIT");
  EXPECT_EQ(made->labels.at("a"), "b");
  EXPECT_EQ(made->hostname, "web");
  EXPECT_EQ(made->resources.cpus, 2) << "the default gives way to the host";
}

TEST(ImageDefaults, TheUserGoesOverTheImage) {
  model::CreateOptions options;
  options.process.arguments = {"ls", "-l"};
  options.process.environment = {"V=2", "W=3"};
  options.process.user = "0:0";
  options.process.working_directory = "/tmp";
  options.process.terminal = true;
  auto made = MakeConfiguration("c1", options, Nginx(), kDefaults);
  ASSERT_TRUE(made.ok());
  EXPECT_THAT(Argv(*made), ElementsAre("/entry.sh", "--", "ls", "-l"));
  EXPECT_THAT(made->init_process.environment,
              ElementsAre("PATH=/bin", "HOSTNAME=c1", "TERM=xterm", "V=2", "W=3"));
  EXPECT_EQ(made->init_process.user, "0:0");
  EXPECT_EQ(made->init_process.working_directory, "/tmp");
}

TEST(ImageDefaults, OptionsGoOverTheImage) {
  model::CreateOptions options;
  options.image = "nginx";
  options.hostname = "box";
  options.labels = {{"a", "c"}, {"d", ""}};
  options.stop_signal = "SIGINT";
  options.stop_timeout_ms = 100;
  options.masked_paths = {"/secret"};
  options.read_only_paths = {"NONE"};
  options.process.gid = 7;
  options.process.rlimits = {{"RLIMIT_CORE", 1, 1}, {"RLIMIT_CORE", 0, 2}};
  ASSERT_TRUE(ValidateCreateOptions(options, kDefaults).ok());
  auto made = MakeConfiguration("web", options, Nginx(), kDefaults);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->hostname, "box");
  EXPECT_TRUE(made->own_host_files);
  EXPECT_THAT(made->init_process.environment, testing::Contains("HOSTNAME=box"));
  EXPECT_EQ(made->labels.at("a"), "c");
  EXPECT_EQ(made->labels.at("d"), "");
  EXPECT_EQ(made->stop_signal, "SIGINT");
  EXPECT_EQ(made->stop_timeout_ms, 100);
  EXPECT_THAT(*made->masked_paths, testing::IsSupersetOf({"/secret", "/proc/kcore"}));
  EXPECT_THAT(*made->read_only_paths, testing::IsEmpty());
  EXPECT_EQ(made->init_process.user, "www:7");
  EXPECT_THAT(made->init_process.rlimits, ElementsAre(model::Rlimit{"RLIMIT_CORE", 0, 2}));

  model::ProcessOptions exec;
  exec.arguments = {"id"};
  exec.user = "5";
  exec.rlimits = {{"RLIMIT_NOFILE", 3, 3}};
  auto process = MakeExecConfiguration(exec, *made);
  ASSERT_TRUE(process.ok());
  EXPECT_EQ(process->user, "5");
  EXPECT_THAT(process->rlimits, testing::SizeIs(2));
}

TEST(ImageDefaults, BadOptionsOfTheMachineAreRefused) {
  const auto refused = [](auto change) {
    model::CreateOptions options;
    options.image = "nginx";
    change(options);
    return absl::IsInvalidArgument(ValidateCreateOptions(options, kDefaults));
  };
  EXPECT_TRUE(refused([](auto& o) { o.cap_add = {"chown"}; }));
  EXPECT_TRUE(refused([](auto& o) { o.cap_drop = {"CAP_FLY"}; }));
  EXPECT_TRUE(refused([](auto& o) { o.hostname = "a b"; }));
  EXPECT_TRUE(refused([](auto& o) { o.stop_signal = "SIGNOT"; }));
  EXPECT_TRUE(refused([](auto& o) { o.stop_timeout_ms = -1; }));
  EXPECT_TRUE(refused([](auto& o) { o.shm_size_bytes = 1; }));
  EXPECT_TRUE(refused([](auto& o) { o.tmpfs = {{"run", {}}}; }));
  EXPECT_TRUE(refused([](auto& o) { o.sysctls = {{"x", "1"}}; }));
  EXPECT_TRUE(refused([](auto& o) { o.masked_paths = {"etc"}; }));
  EXPECT_TRUE(refused([](auto& o) { o.extra_hosts = {{"db", "x"}}; }));
  EXPECT_TRUE(refused([](auto& o) { o.process.rlimits = {{"RLIMIT_CORE", 2, 1}}; }));
}

TEST(ImageDefaults, AnEntrypointDropsTheImagesCommand) {
  model::CreateOptions options;
  options.entrypoint = "/bin/sh";
  EXPECT_THAT(Argv(MakeConfiguration("c1", options, Nginx(), kDefaults).value()),
              ElementsAre("/bin/sh"));
  options.process.arguments = {"-c", "true"};
  EXPECT_THAT(Argv(MakeConfiguration("c1", options, Nginx(), kDefaults).value()),
              ElementsAre("/bin/sh", "-c", "true"));
  options.entrypoint = "";
  EXPECT_THAT(Argv(MakeConfiguration("c1", options, Nginx(), kDefaults).value()),
              ElementsAre("-c", "true"));
  options.process.arguments.clear();
  EXPECT_THAT(std::string(MakeConfiguration("c1", options, Nginx(), kDefaults).status().message()),
              HasSubstr("no command"));
}

TEST(ImageDefaults, AnEmptyImageConfigurationIsFine) {
  for (const char* text :
       {R"({})", R"({"config":null})", R"({"config":{"Env":null,"Cmd":null}})"}) {
    auto parsed = ParseImageConfig(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_TRUE(parsed->command.empty());
  }
  EXPECT_EQ(ParseImageConfig("nonsense").status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ParseImageConfig(R"({"config":{"Env":7}})").status().code(),
            absl::StatusCode::kDataLoss);
}

TEST(ImageDefaults, BadOptionsAreRefused) {
  const auto refused = [](auto change) {
    model::CreateOptions options;
    options.image = "alpine";
    change(options);
    return ValidateCreateOptions(options, kDefaults).code() == absl::StatusCode::kInvalidArgument;
  };
  EXPECT_FALSE(refused([](auto&) {}));
  EXPECT_TRUE(refused([](auto& o) { o.image = ""; }));
  EXPECT_TRUE(refused([](auto& o) { o.id = "../etc"; }));
  EXPECT_TRUE(refused([](auto& o) { o.cpus = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.cpus = 3; }));
  EXPECT_TRUE(refused([](auto& o) { o.memory_bytes = 1; }));
  EXPECT_TRUE(refused([](auto& o) { o.process.environment = {"novalue"}; }));
  EXPECT_TRUE(refused([](auto& o) { o.process.user = "a b"; }));
  EXPECT_TRUE(refused([](auto& o) { o.process.working_directory = "tmp"; }));
  EXPECT_TRUE(refused([](auto& o) { o.process.arguments = {std::string("a\0b", 3)}; }));
}

TEST(ImageDefaults, ExecTakesAfterTheFirstProcess) {
  auto container = MakeConfiguration("c1", {}, Nginx(), kDefaults).value();
  model::ProcessOptions options;
  options.arguments = {"env"};
  options.environment = {"V=9"};
  auto process = MakeExecConfiguration(options, container).value();
  EXPECT_EQ(process.executable, "env");
  EXPECT_EQ(process.user, "www");
  EXPECT_EQ(process.working_directory, "/srv");
  EXPECT_THAT(process.environment, ElementsAre("PATH=/bin", "HOSTNAME=c1", "V=9"));
  EXPECT_FALSE(MakeExecConfiguration({}, container).ok());
}

}  // namespace
}  // namespace container::apiserver
