#include "e2e/system_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <iostream>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/fd.h"

namespace container::e2e {
namespace {

namespace fs = std::filesystem;

std::string FromEnvironment(const char* name) {
  const char* value = std::getenv(name);
  if (value == nullptr) {
    ADD_FAILURE() << name << " is not set: run the tests through ctest";
    return "";
  }
  return value;
}

}  // namespace

std::ostream& operator<<(std::ostream& stream, const Result& result) {
  return stream << "status " << result.status << "\n--- out\n"
                << result.out << "--- err\n"
                << result.err << "---";
}

std::string BuildDir() { return FromEnvironment("CONTAINER_BUILD_DIR"); }
std::string SourceDir() { return FromEnvironment("CONTAINER_SOURCE_DIR"); }

std::optional<std::string> SharedImage(const std::string& name) {
  const std::string path = SourceDir() + "/../shared/images/" + name;
  if (fs::exists(path)) return path;
  return std::nullopt;
}

Result RunProgram(const base::SubprocessSpec& spec, const std::string& input,
                  std::chrono::milliseconds timeout) {
  auto folder = base::TemporaryDirectory::Create("e2e-run-");
  EXPECT_TRUE(folder.ok()) << folder.status();
  const std::string in = folder->path() + "/in";
  const std::string out = folder->path() + "/out";
  const std::string err = folder->path() + "/err";
  EXPECT_TRUE(base::WriteFileAtomically(in, input).ok());
  base::Fd in_fd = *base::Open(in, O_RDONLY);
  base::Fd out_fd = *base::Open(out, O_WRONLY | O_CREAT, 0600);
  base::Fd err_fd = *base::Open(err, O_WRONLY | O_CREAT, 0600);
  base::SubprocessSpec with_files = spec;
  with_files.fds = {{in_fd.get(), 0}, {out_fd.get(), 1}, {err_fd.get(), 2}};
  auto child = base::Subprocess::Spawn(with_files);
  EXPECT_TRUE(child.ok()) << child.status();
  Result result;
  if (!child.ok()) return result;
  auto end = child->WaitFor(timeout);
  if (end.ok() && end->has_value()) {
    result.status = (*end)->ShellStatus();
  } else {
    child->TerminateOrKill(std::chrono::seconds(5)).status().IgnoreError();
  }
  result.out = *base::ReadFile(out, 256 << 20);
  result.err = *base::ReadFile(err, 256 << 20);
  return result;
}

bool Eventually(const std::function<bool()>& condition, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  return true;
}

Instance::Instance() : folder_(*base::TemporaryDirectory::Create("ce2e-")) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string::npos) environment_[text.substr(0, equals)] = text.substr(equals + 1);
  }
  for (const char* name : {"home", "run"}) {
    EXPECT_TRUE(base::MakeDirectories(folder() + "/" + name).ok());
  }
  SetEnvironment("HOME", folder() + "/home");
  SetEnvironment("XDG_CONFIG_HOME", folder() + "/home/.config");
  SetEnvironment("XDG_RUNTIME_DIR", folder() + "/run");
  SetEnvironment("CONTAINER_APP_ROOT", app_root());
  SetEnvironment("CONTAINER_LOG_ROOT", folder() + "/log");
  SetEnvironment("CONTAINER_CONFIG", folder() + "/config.toml");
}

Instance::~Instance() {
  if (fs::exists(app_root())) {
    Result stopped = Run({"system", "stop"});
    EXPECT_EQ(stopped.status, 0) << stopped;
  }
  std::vector<pid_t> left = Processes();
  if (!Eventually([&] { return (left = Processes()).empty(); }, std::chrono::seconds(20))) {
    for (pid_t pid : left) {
      auto line = base::ReadFile(absl::StrCat("/proc/", pid, "/cmdline"));
      ADD_FAILURE() << "process " << pid << " is left: "
                    << (line.ok() ? absl::StrReplaceAll(*line, {{std::string(1, '\0'), " "}}) : "");
      ::kill(pid, SIGKILL);
    }
  }
  if (::testing::Test::HasFailure() && fs::exists(folder() + "/log")) {
    for (const auto& entry : fs::directory_iterator(folder() + "/log")) {
      auto text = base::ReadFile(entry.path(), 64 << 20);
      if (!text.ok()) continue;
      std::cerr << "=== " << entry.path().filename() << "\n"
                << (text->size() > 6000 ? text->substr(text->size() - 6000) : *text);
    }
  }
}

void Instance::SetEnvironment(const std::string& name, const std::string& value) {
  environment_[name] = value;
}

base::SubprocessSpec Instance::Spec(const std::vector<std::string>& arguments) const {
  base::SubprocessSpec spec;
  spec.program = BuildDir() + "/bin/container";
  spec.arguments = arguments;
  spec.environment.emplace();
  for (const auto& [name, value] : environment_) {
    spec.environment->push_back(absl::StrCat(name, "=", value));
  }
  return spec;
}

Result Instance::Run(const std::vector<std::string>& arguments, const std::string& input) const {
  return RunProgram(Spec(arguments), input, kCommandTimeout);
}

base::Subprocess Instance::Start(const std::vector<std::string>& arguments,
                                 const std::string& out_file, const std::string& err_file) const {
  base::Fd out = *base::Open(out_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  base::Fd err = *base::Open(err_file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  base::SubprocessSpec spec = Spec(arguments);
  spec.fds = {{out.get(), 1}, {err.get(), 2}};
  return *base::Subprocess::Spawn(spec);
}

void Instance::StartSystem() const {
  Result started = Run({"system", "start"});
  ASSERT_EQ(started.status, 0) << started;
}

void Instance::LoadFirstImage() const {
  const std::string archive = folder() + "/first.tar";
  if (!fs::exists(archive)) {
    Result made =
        RunProgram({.program = SourceDir() + "/scripts/make-first-image", .arguments = {archive}},
                   "", kCommandTimeout);
    ASSERT_EQ(made.status, 0) << made;
  }
  Result loaded = Run({"image", "load", "-i", archive});
  ASSERT_EQ(loaded.status, 0) << loaded;
}

std::vector<pid_t> Instance::Processes(const std::string& program) const {
  std::vector<pid_t> pids;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &pid) || pid == ::getpid()) continue;
    auto line = base::ReadFile(entry.path() / "cmdline", 1 << 20);
    if (!line.ok()) continue;
    const std::string name = fs::path(line->substr(0, line->find('\0'))).filename();
    if (line->find(folder()) == std::string::npos) {
      // QEMU is told descriptors, not paths: it is known by its parent.
      auto stat = base::ReadFile(entry.path() / "environ", 1 << 20);
      if (!stat.ok() || stat->find("CONTAINER_APP_ROOT=" + app_root()) == std::string::npos)
        continue;
    }
    if (program.empty() || name.rfind(program, 0) == 0) pids.push_back(pid);
  }
  return pids;
}

std::unique_ptr<Instance> SystemTest::instance_;

void SystemTest::SetUpTestSuite() {
  instance_ = std::make_unique<Instance>();
  instance_->StartSystem();
  if (!HasFatalFailure()) instance_->LoadFirstImage();
}

void SystemTest::TearDownTestSuite() { instance_.reset(); }

}  // namespace container::e2e
