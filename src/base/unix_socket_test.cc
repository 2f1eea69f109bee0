#include "base/unix_socket.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "base/file.h"
#include "base/status.h"
#include "gtest/gtest.h"

namespace container::base {
namespace {

class UnixSocketTest : public ::testing::Test {
 protected:
  TemporaryDirectory folder_ = *TemporaryDirectory::Create();
  std::string path_ = folder_.path() + "/s.sock";
};

TEST_F(UnixSocketTest, ConnectsWithinOneUser) {
  Fd listener = *ListenUnix(path_);
  struct stat info;
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  Fd client = *ConnectUnix(path_);
  Fd server = *AcceptUnix(listener.get());
  ASSERT_TRUE(WriteAll(client.get(), "hello").ok());
  client.Reset();
  EXPECT_EQ(*ReadAll(server.get(), 100), "hello");
}

TEST_F(UnixSocketTest, SaysWhyItCannotConnect) {
  EXPECT_EQ(ConnectUnix(path_).status().code(), absl::StatusCode::kNotFound);
  { Fd listener = *ListenUnix(path_); }
  EXPECT_EQ(ConnectUnix(path_).status().code(), absl::StatusCode::kUnavailable);
  // What a dead server left is replaced.
  EXPECT_TRUE(ListenUnix(path_).ok());
  EXPECT_EQ(ListenUnix(folder_.path() + "/" + std::string(100, 'x')).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(UnixSocketTest, StrangersAreRefused) {
  if (::geteuid() != 0) GTEST_SKIP() << "SKIPPED: becoming another user needs root";
  Fd listener = *ListenUnix(path_);
  ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
  ASSERT_EQ(::chmod(folder_.path().c_str(), 0755), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(65534) != 0) ::_exit(1);
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path_.c_str(), sizeof address.sun_path - 1);
    int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) ::_exit(2);
    char byte;
    ::_exit(::read(fd, &byte, 1) == 0 ? 0 : 3);  // Closed by the server without a word.
  }
  // The stranger stands first in the queue; the friend is the one who is let in.
  ASSERT_GT(child, 0);
  Fd stranger_connected(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  EXPECT_EQ(CheckPeer(stranger_connected.get()).code(), absl::StatusCode::kPermissionDenied);
  stranger_connected.Reset();
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace container::base
