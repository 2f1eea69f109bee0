// Streams against real sockets, and the terminal against a real pty.
#include "cli/stdio_session.h"

#include <fcntl.h>
#include <poll.h>
#include <pty.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <filesystem>

#include "base/file.h"
#include "base/subprocess.h"
#include "base/unix_socket.h"
#include "base/uuid.h"
#include "cli/output/terminal.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace container::cli {
namespace {

using std::chrono::seconds;

class StdioSessionTest : public ::testing::Test {
 protected:
  void Open(bool in, bool out, bool error) {
    local_in_ = *base::MakePipe();
    local_out_ = *base::MakePipe();
    local_error_ = *base::MakePipe();
    LocalStreams local;
    if (in) local.in = local_in_.first.get();
    if (out) local.out = local_out_.second.get();
    if (error) local.error = local_error_.second.get();
    session_ = *StdioSession::Create(folder_.path() + "/io", local);
    session_->StartOutput();
    session_->StartInput();
  }
  bool Ended(seconds timeout = seconds(10)) {
    return *base::PollFd(session_->outputs_ended_fd(), POLLIN, timeout);
  }
  std::string TakeOutput(base::FdPair& pipe) {
    session_.reset();
    pipe.second.Reset();
    return *base::ReadAll(pipe.first.get(), 64 << 20);
  }

  base::TemporaryDirectory folder_ = *base::TemporaryDirectory::Create();
  base::FdPair local_in_;
  base::FdPair local_out_;
  base::FdPair local_error_;
  std::unique_ptr<StdioSession> session_;
};

TEST_F(StdioSessionTest, KeepsTheStreamsApartAndLeavesNothing) {
  Open(true, true, true);
  const std::string folder = std::filesystem::path(session_->sockets().out).parent_path();
  struct stat info;
  ASSERT_EQ(::stat(folder.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0700u);

  base::Fd in = *base::ConnectUnix(session_->sockets().in);
  base::Fd out = *base::ConnectUnix(session_->sockets().out);
  base::Fd error = *base::ConnectUnix(session_->sockets().error);
  ASSERT_TRUE(base::WriteAll(local_in_.second.get(), "input").ok());
  local_in_.second.Reset();
  EXPECT_EQ(*base::ReadAll(in.get(), 100), "input");  // to its end: half-closed
  ASSERT_TRUE(base::WriteAll(out.get(), "output").ok());
  ASSERT_TRUE(base::WriteAll(error.get(), "trouble").ok());
  out.Reset();
  error.Reset();
  EXPECT_TRUE(Ended());
  session_.reset();
  local_out_.second.Reset();
  local_error_.second.Reset();
  EXPECT_EQ(*base::ReadAll(local_out_.first.get(), 100), "output");
  EXPECT_EQ(*base::ReadAll(local_error_.first.get(), 100), "trouble");
  EXPECT_FALSE(std::filesystem::exists(folder));
}

TEST_F(StdioSessionTest, TruncatesNothing) {
  Open(false, true, false);
  const std::string data = base::RandomBytes(8 << 20);
  std::thread helper([&] {
    base::Fd out = *base::ConnectUnix(session_->sockets().out);
    EXPECT_TRUE(base::WriteAll(out.get(), data).ok());
  });
  std::string received;
  std::vector<char> buffer(1 << 16);
  while (received.size() < data.size()) {
    const size_t count = *base::ReadSome(local_out_.first.get(), buffer);
    received.append(buffer.data(), count);
  }
  helper.join();
  EXPECT_TRUE(Ended());
  EXPECT_TRUE(received == data);
}

TEST_F(StdioSessionTest, AfterTheProcessItsOutputIsDeliveredButAnOpenStreamIsNotWaitedFor) {
  Open(false, true, false);
  base::Fd out = *base::ConnectUnix(session_->sockets().out);
  ASSERT_TRUE(base::WriteAll(out.get(), "last words").ok());
  session_->FinishOutput();
  EXPECT_TRUE(Ended());  // though `out` is still open
  EXPECT_EQ(TakeOutput(local_out_), "last words");
}

TEST_F(StdioSessionTest, AHelperThatNeverConnectsHoldsNothingUp) {
  Open(true, true, true);
  session_->FinishOutput();
  EXPECT_TRUE(Ended());
}

TEST_F(StdioSessionTest, ALostReaderIsReported) {
  ::signal(SIGPIPE, SIG_IGN);
  Open(false, true, false);
  local_out_.first.Reset();
  base::Fd out = *base::ConnectUnix(session_->sockets().out);
  ASSERT_TRUE(base::WriteAll(out.get(), "unread").ok());
  EXPECT_TRUE(*base::PollFd(session_->broken_output_fd(), POLLIN, seconds(10)));
  EXPECT_TRUE(Ended());
}

TEST_F(StdioSessionTest, AFullDiskIsReported) {
  base::Fd full = *base::Open("/dev/full", O_WRONLY);
  LocalStreams local;
  local.out = full.get();
  session_ = *StdioSession::Create(folder_.path() + "/io", local);
  session_->StartOutput();
  base::Fd out = *base::ConnectUnix(session_->sockets().out);
  ASSERT_TRUE(base::WriteAll(out.get(), "text").ok());
  EXPECT_TRUE(Ended());
  EXPECT_EQ(session_->write_error(), ENOSPC);
}

TEST_F(StdioSessionTest, TheProcessMayCloseItsInputFirst) {
  Open(true, false, false);
  EXPECT_TRUE(Ended());  // no outputs
  { base::Fd in = *base::ConnectUnix(session_->sockets().in); }
  session_.reset();  // returns although nothing was ever read
}

TEST(TerminalTest, RawModeIsRestoredWhateverHappens) {
  int master = -1;
  int slave = -1;
  winsize size = {.ws_row = 33, .ws_col = 101, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(::openpty(&master, &slave, nullptr, nullptr, &size), 0);
  base::Fd master_fd(master);
  base::Fd slave_fd(slave);
  EXPECT_EQ(SizeOf(slave), (TerminalSize{33, 101}));
  termios before;
  ASSERT_EQ(::tcgetattr(slave, &before), 0);
  {
    auto guard = TerminalGuard::MakeRaw(slave);
    ASSERT_TRUE(guard.ok());
    termios raw;
    ASSERT_EQ(::tcgetattr(slave, &raw), 0);
    EXPECT_EQ(raw.c_lflag & (ICANON | ECHO | ISIG), 0u);
    ASSERT_EQ(::tcsetattr(slave, TCSANOW, &before), 0);  // a shell, after a stop
    ASSERT_TRUE((*guard)->Reapply().ok());
    ASSERT_EQ(::tcgetattr(slave, &raw), 0);
    EXPECT_EQ(raw.c_lflag & (ICANON | ECHO | ISIG), 0u);
  }
  termios after;
  ASSERT_EQ(::tcgetattr(slave, &after), 0);
  EXPECT_EQ(after.c_lflag, before.c_lflag);
  EXPECT_EQ(after.c_oflag, before.c_oflag);
  EXPECT_EQ(after.c_iflag, before.c_iflag);
}

TEST(TerminalTest, NoTerminal) {
  base::Fd null = *base::Open("/dev/null", O_RDWR);
  EXPECT_EQ(SizeOf(null.get()), TerminalSize{});
  EXPECT_FALSE(TerminalGuard::MakeRaw(null.get()).ok());
}

}  // namespace
}  // namespace container::cli
