// The real program against an apiserver of the test that runs commands as processes of this host:
// streams, signals, exit statuses, terminal, and the apiserver's death in the middle.
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <map>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/rpc.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"
#include "base/uuid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/container.h"
#include "proto/apiserver.grpc.pb.h"
#include "proto/images.grpc.pb.h"

namespace container::cli {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
namespace api = ::container::apiserver::v1;
namespace img = ::container::images::v1;

/// What outlives an apiserver: the "helpers".
struct World {
  std::mutex mutex;
  std::condition_variable changed;
  struct Process {
    model::CreateOptions options;
    pid_t pid = 0;
    std::optional<int> exit_code;
    std::thread waiter;
  };
  std::map<std::string, Process> processes;
  std::vector<std::string> deleted;
  std::vector<std::pair<uint32_t, uint32_t>> sizes;
  bool image_present = true;
  bool stopping = false;

  ~World() {
    for (auto& [id, process] : processes) {
      if (process.pid > 0 && !process.exit_code) ::kill(process.pid, SIGKILL);
      if (process.waiter.joinable()) process.waiter.join();
    }
  }
};

class Containers final : public api::Containers::Service {
 public:
  explicit Containers(World& world) : world_(world) {}

  grpc::Status Create(grpc::ServerContext*, const api::CreateRequest* request,
                      api::CreateResponse* response) override {
    std::lock_guard lock(world_.mutex);
    if (!world_.image_present) return {grpc::StatusCode::NOT_FOUND, "no image"};
    auto options = model::CreateOptions::FromJson(request->options_json());
    const std::string id = options->id.empty() ? base::NewUuid() : options->id;
    world_.processes[id].options = *options;
    response->set_id(id);
    return grpc::Status::OK;
  }

  grpc::Status Start(grpc::ServerContext*, const api::StartRequest* request,
                     api::StartResponse* response) override {
    std::lock_guard lock(world_.mutex);
    World::Process& process = world_.processes.at(request->id());
    const auto& stdio = request->stdio();
    world_.sizes.emplace_back(request->size().rows(), request->size().columns());
    if (process.options.process.arguments[0] == "broken") {
      return {grpc::StatusCode::UNAVAILABLE, "the VM did not boot"};
    }
    base::SubprocessSpec spec;
    spec.program = process.options.process.arguments[0];
    spec.arguments.assign(process.options.process.arguments.begin() + 1,
                          process.options.process.arguments.end());
    spec.environment = process.options.process.environment;
    spec.environment->push_back("PATH=/usr/bin:/bin");
    std::vector<base::Fd> connections;
    int number = 0;
    for (const std::string& path :
         {stdio.stdin_socket(), stdio.stdout_socket(), stdio.stderr_socket()}) {
      if (!path.empty()) {
        connections.push_back(*base::ConnectUnix(path));
        spec.fds.push_back({connections.back().get(), number});
      }
      ++number;
    }
    auto child = base::Subprocess::Spawn(spec);
    if (!child.ok()) {
      response->mutable_exec_failure()->set_exit_code(absl::IsNotFound(child.status()) ? 127 : 126);
      response->mutable_exec_failure()->set_message(std::string(child.status().message()));
      return grpc::Status::OK;
    }
    process.pid = child->pid();
    process.waiter =
        std::thread([this, &process, held = std::make_shared<base::Subprocess>(*std::move(child))] {
          const int code = held->Wait()->ShellStatus();
          std::lock_guard lock(world_.mutex);
          process.exit_code = code;
          world_.changed.notify_all();
        });
    return grpc::Status::OK;
  }

  grpc::Status Wait(grpc::ServerContext* context, const api::WaitRequest* request,
                    api::WaitResponse* response) override {
    std::unique_lock lock(world_.mutex);
    World::Process& process = world_.processes.at(request->id());
    while (!process.exit_code) {
      world_.changed.wait_for(lock, milliseconds(50));
      if (world_.stopping || context->IsCancelled()) {
        return {grpc::StatusCode::UNAVAILABLE, "Socket closed"};
      }
    }
    response->mutable_exit()->set_exit_code(*process.exit_code);
    return grpc::Status::OK;
  }

  grpc::Status Signal(grpc::ServerContext*, const api::SignalRequest* request,
                      api::SignalResponse*) override {
    std::lock_guard lock(world_.mutex);
    ::kill(world_.processes.at(request->id()).pid, request->signal());
    return grpc::Status::OK;
  }

  grpc::Status Resize(grpc::ServerContext*, const api::ResizeRequest* request,
                      api::ResizeResponse*) override {
    std::lock_guard lock(world_.mutex);
    world_.sizes.emplace_back(request->size().rows(), request->size().columns());
    world_.changed.notify_all();
    return grpc::Status::OK;
  }

  grpc::Status Delete(grpc::ServerContext*, const api::DeleteRequest* request,
                      api::DeleteResponse*) override {
    std::lock_guard lock(world_.mutex);
    if (!world_.processes.contains(request->id())) {
      return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no container ", request->id())};
    }
    world_.deleted.push_back(request->id());
    return grpc::Status::OK;
  }

 private:
  World& world_;
};

class Images final : public img::Images::Service {
 public:
  explicit Images(World& world) : world_(world) {}
  grpc::Status Pull(grpc::ServerContext*, const img::PullRequest* request,
                    grpc::ServerWriter<img::ImageEvent>* writer) override {
    img::ImageEvent event;
    event.mutable_progress()->set_task_id("1");
    event.mutable_progress()->set_description("Fetching " + request->reference());
    writer->Write(event);
    event.mutable_progress()->set_done(true);
    event.set_image_json(R"({"configuration":{"name":"docker.io/library/x:latest"}})");
    writer->Write(event);
    std::lock_guard lock(world_.mutex);
    world_.image_present = true;
    return grpc::Status::OK;
  }

 private:
  World& world_;
};

struct Ended {
  int status = 0;
  std::string out;
  std::string err;
};

class AttachTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ::signal(SIGPIPE, SIG_IGN);
    const std::string root = folder_.path();
    ASSERT_TRUE(base::MakeDirectories(root + "/run").ok());
    environment_ = {"XDG_RUNTIME_DIR=" + root + "/run", "HOME=" + root, "PATH=/usr/bin:/bin",
                    "TERM=xterm"};
    runtime_dir_ = root + "/run/container";
    ASSERT_TRUE(base::MakePrivateDirectory(runtime_dir_).ok());
    program_ = absl::StrCat(std::getenv("CONTAINER_BUILD_DIR"), "/bin/container");
    StartServer();
  }
  void TearDown() override { StopServer(); }

  void StartServer() {
    world_.stopping = false;
    server_ = *base::RpcServer::Start(*base::ListenUnix(runtime_dir_ + "/apiserver.sock"),
                                      {&containers_, &images_});
  }
  void StopServer() {
    {
      std::lock_guard lock(world_.mutex);
      world_.stopping = true;
    }
    world_.changed.notify_all();
    server_.reset();
  }

  base::SubprocessSpec Spec(std::vector<std::string> words) {
    base::SubprocessSpec spec;
    spec.program = program_;
    spec.arguments = std::move(words);
    spec.environment = environment_;
    return spec;
  }
  Ended Run(std::vector<std::string> words) {
    auto result = base::RunCommand(Spec(std::move(words)), seconds(60));
    if (!result.ok()) {
      ADD_FAILURE() << result.status();
      return {};
    }
    return {result->end.ShellStatus(), result->standard_output, result->standard_error};
  }
  /// No folder of sockets is left.
  void ExpectNothingLeft() {
    const std::string io = runtime_dir_ + "/io";
    if (!std::filesystem::exists(io)) return;
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(io), {}), 0);
  }

  base::TemporaryDirectory folder_ = *base::TemporaryDirectory::Create();
  std::string runtime_dir_;
  std::string program_;
  std::vector<std::string> environment_;
  World world_;
  Containers containers_{world_};
  Images images_{world_};
  std::unique_ptr<base::RpcServer> server_;
};

TEST_F(AttachTest, StatusAndStreams) {
  const Ended ended =
      Run({"run", "-e", "X=5", "img", "sh", "-c", "echo out; echo err >&2; exit $X"});
  EXPECT_EQ(ended.status, 5);
  EXPECT_EQ(ended.out, "out\n");
  EXPECT_EQ(ended.err, "err\n");
  ExpectNothingLeft();
}

TEST_F(AttachTest, AllOfALongOutput) {
  const Ended ended = Run({"run", "img", "sh", "-c", "head -c 9000000 /dev/zero"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out.size(), 9000000u);
}

TEST_F(AttachTest, FailuresHaveTheirStatus) {
  EXPECT_EQ(Run({"run", "img", "/no/such/program"}).status, 127);
  EXPECT_EQ(Run({"run", "img", "/etc/passwd"}).status, 126);
  EXPECT_EQ(Run({"run", "img", "sh", "-c", "kill -TERM $$"}).status, 128 + SIGTERM);
  const Ended broken = Run({"run", "--rm", "--name", "gone", "img", "broken"});
  EXPECT_EQ(broken.status, 125);
  EXPECT_THAT(broken.err, HasSubstr("Error: the VM did not boot"));
  EXPECT_THAT(world_.deleted, ElementsAre("gone"));
  ExpectNothingLeft();
}

TEST_F(AttachTest, PullsWhatIsMissing) {
  world_.image_present = false;
  const Ended ended = Run({"run", "img", "echo", "hi"});
  EXPECT_EQ(ended.status, 0);
  EXPECT_EQ(ended.out, "hi\n");
  EXPECT_THAT(ended.err, HasSubstr("Fetching img\n"));
}

TEST_F(AttachTest, InputIsPassedOnToItsEnd) {
  auto input = base::MakePipe();
  auto output = base::MakePipe();
  base::SubprocessSpec spec = Spec({"run", "-i", "img", "sh", "-c", "cat; echo end"});
  spec.fds = {{input->first.get(), 0}, {output->second.get(), 1}};
  auto child = base::Subprocess::Spawn(spec);
  ASSERT_TRUE(child.ok());
  output->second.Reset();
  ASSERT_TRUE(base::WriteAll(input->second.get(), "some words\n").ok());
  input->second.Reset();
  EXPECT_EQ(*base::ReadAll(output->first.get(), 1000), "some words\nend\n");
  EXPECT_EQ(child->Wait()->ShellStatus(), 0);
  EXPECT_EQ(Run({"run", "img", "cat"}).status, 0);  // without -i: /dev/null
}

TEST_F(AttachTest, SignalsArePassedOn) {
  auto output = base::MakePipe();
  base::SubprocessSpec spec =
      Spec({"run", "img", "sh", "-c",
            "trap 'echo got; exit 9' USR1; echo up; while :; do sleep 0.05; done"});
  spec.fds = {{output->second.get(), 1}};
  auto child = base::Subprocess::Spawn(spec);
  ASSERT_TRUE(child.ok());
  output->second.Reset();
  std::array<char, 100> buffer;
  EXPECT_EQ(*base::ReadSome(output->first.get(), buffer), 3u);
  ASSERT_TRUE(child->Signal(SIGUSR1).ok());
  EXPECT_EQ(*base::ReadAll(output->first.get(), 1000), "got\n");
  EXPECT_EQ(child->Wait()->ShellStatus(), 9);
  ExpectNothingLeft();
}

TEST_F(AttachTest, ALostReaderEndsItQuietly) {
  const auto result =
      base::RunCommand({.program = "sh",
                        .arguments = {"-c", absl::StrCat(program_, " run img yes | head -n 1")},
                        .environment = environment_},
                       seconds(30));
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->standard_output, "y\n");
  EXPECT_THAT(result->standard_error, IsEmpty());
  ExpectNothingLeft();
}

TEST_F(AttachTest, TheSessionOutlivesTheApiserver) {
  auto output = base::MakePipe();
  base::SubprocessSpec spec =
      Spec({"run", "img", "sh", "-c", "echo up; sleep 1; echo late; exit 7"});
  spec.fds = {{output->second.get(), 1}};
  auto child = base::Subprocess::Spawn(spec);
  ASSERT_TRUE(child.ok());
  output->second.Reset();
  std::array<char, 100> buffer;
  EXPECT_EQ(*base::ReadSome(output->first.get(), buffer), 3u);
  StopServer();
  EXPECT_EQ(*base::ReadSome(output->first.get(), buffer), 5u);  // "late\n"
  StartServer();
  EXPECT_EQ(child->Wait()->ShellStatus(), 7);
  ExpectNothingLeft();
}

TEST_F(AttachTest, AnExitStatusThatNobodyKnowsIs125) {
  auto output = base::MakePipe();
  auto error = base::MakePipe();
  base::SubprocessSpec spec =
      Spec({"run", "--name", "lost", "img", "sh", "-c", "echo up; sleep 1"});
  spec.fds = {{output->second.get(), 1}, {error->second.get(), 2}};
  auto child = base::Subprocess::Spawn(spec);
  ASSERT_TRUE(child.ok());
  error->second.Reset();
  std::array<char, 100> buffer;
  EXPECT_EQ(*base::ReadSome(output->first.get(), buffer), 3u);
  StopServer();
  EXPECT_EQ(child->Wait()->ShellStatus(), 125);
  EXPECT_THAT(*base::ReadAll(error->first.get(), 1000),
              HasSubstr("the exit status of lost is not known: container-apiserver ended"));
  ExpectNothingLeft();
}

TEST_F(AttachTest, WithoutAnApiserver) {
  StopServer();
  for (const char* verb : {"list", "image"}) {
    const Ended ended = verb == std::string("image") ? Run({"image", "list"}) : Run({verb});
    EXPECT_EQ(ended.status, 1);
    EXPECT_EQ(ended.err,
              "Error: container system is not running; start it with: container system start\n");
  }
  EXPECT_EQ(Run({"run", "img"}).status, 125);
  EXPECT_EQ(Run({"system", "status"}).status, 1);
  EXPECT_EQ(Run({"system", "stop"}).status, 0);
  EXPECT_EQ(Run({"system", "version"}).status, 0);
}

TEST_F(AttachTest, EachOfSeveralIsTried) {
  ASSERT_EQ(Run({"create", "--name", "one", "img", "true"}).out, "one\n");
  const Ended ended = Run({"rm", "nosuch", "one"});
  EXPECT_EQ(ended.status, 1);
  EXPECT_EQ(ended.out, "one\n");
  EXPECT_EQ(ended.err, "Error: no container nosuch\n");
}

TEST_F(AttachTest, CidfileIsNeverOverwritten) {
  const std::string file = folder_.path() + "/cid";
  ASSERT_EQ(Run({"create", "--name", "one", "--cidfile", file, "img", "true"}).status, 0);
  EXPECT_EQ(*base::ReadFile(file), "one");
  EXPECT_EQ(Run({"create", "--cidfile", file, "img", "true"}).status, 1);
}

TEST_F(AttachTest, ATerminalIsRawWhileTheProcessRunsAndRestoredAfterASignal) {
  const Ended refused = Run({"run", "-it", "img", "true"});
  EXPECT_EQ(refused.status, 125);
  EXPECT_THAT(refused.err, HasSubstr("the input device is not a TTY"));

  int master = -1;
  int slave = -1;
  winsize size = {.ws_row = 30, .ws_col = 90, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, &size), 0);
  base::Fd master_fd(master);
  base::Fd slave_fd(slave);
  termios before;
  ::tcgetattr(slave, &before);
  base::SubprocessSpec spec =
      Spec({"run", "-it", "img", "sh", "-c", "head -c 2 | od -An -tx1; echo now; exec sleep 30"});
  spec.fds = {{slave, 0}, {slave, 1}, {slave, 2}};
  spec.new_session = true;
  auto child = base::Subprocess::Spawn(spec);
  ASSERT_TRUE(child.ok());
  // Raw as soon as the process runs.
  termios mode = before;
  for (int i = 0; i < 500 && (mode.c_lflag & ICANON) != 0; ++i) {
    ::usleep(10000);
    ::tcgetattr(slave, &mode);
  }
  ASSERT_EQ(mode.c_lflag & (ICANON | ECHO | ISIG), 0u);
  ASSERT_TRUE(base::WriteAll(master, "\x03\r").ok());  // Ctrl-C and return, as they are
  std::string seen;
  std::array<char, 1000> buffer;
  while (seen.find("now") == std::string::npos) {
    ASSERT_TRUE(*base::PollFd(master, POLLIN, seconds(20))) << seen;
    seen.append(buffer.data(), *base::ReadSome(master, buffer));
  }
  EXPECT_THAT(seen, HasSubstr("03 0d"));

  size.ws_row = 50;
  ASSERT_EQ(::ioctl(master, TIOCSWINSZ, &size), 0);
  ASSERT_TRUE(child->Signal(SIGWINCH).ok());
  {
    std::unique_lock lock(world_.mutex);
    EXPECT_TRUE(
        world_.changed.wait_for(lock, seconds(10), [&] { return world_.sizes.size() == 2; }));
    EXPECT_THAT(world_.sizes, ElementsAre(std::pair(30u, 90u), std::pair(50u, 90u)));
  }
  ASSERT_TRUE(child->Signal(SIGTERM).ok());
  EXPECT_EQ(child->Wait()->ShellStatus(), 128 + SIGTERM);
  ::tcgetattr(slave, &mode);
  EXPECT_EQ(mode.c_lflag, before.c_lflag);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace container::cli
