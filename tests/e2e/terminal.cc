#include "e2e/terminal.h"

#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>

#include "gtest/gtest.h"

namespace container::e2e {

Terminal::Terminal(const base::SubprocessSpec& spec, int rows, int columns) {
  int master = -1;
  int slave = -1;
  winsize size = {};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  EXPECT_EQ(::openpty(&master, &slave, nullptr, nullptr, &size), 0);
  master_.Reset(master);
  slave_.Reset(slave);
  // setsid(1) makes the terminal the controlling one, from which SIGWINCH comes.
  base::SubprocessSpec on_terminal = spec;
  on_terminal.arguments.insert(on_terminal.arguments.begin(), {"--ctty", "--wait", spec.program});
  on_terminal.program = "setsid";
  on_terminal.fds = {{slave, 0}, {slave, 1}, {slave, 2}};
  auto child = base::Subprocess::Spawn(on_terminal);
  EXPECT_TRUE(child.ok()) << child.status();
  if (child.ok()) child_ = std::move(*child);
}

void Terminal::Type(const std::string& text) {
  EXPECT_TRUE(base::WriteAll(master_.get(), text).ok());
}

void Terminal::Resize(int rows, int columns) {
  winsize size = {};
  size.ws_row = static_cast<unsigned short>(rows);
  size.ws_col = static_cast<unsigned short>(columns);
  EXPECT_EQ(::ioctl(master_.get(), TIOCSWINSZ, &size), 0);
}

bool Terminal::ReadMore(std::chrono::milliseconds timeout) {
  auto readable = base::PollFd(master_.get(), POLLIN, timeout);
  if (!readable.ok() || !*readable) return false;
  std::array<char, 4096> buffer;
  auto count = base::ReadSome(master_.get(), buffer);
  if (!count.ok() || *count == 0) return false;
  seen_.append(buffer.data(), *count);
  return true;
}

bool Terminal::WaitForText(const std::string& text, std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  for (;;) {
    const size_t found = seen_.find(text, searched_);
    if (found != std::string::npos) {
      searched_ = found + text.size();
      return true;
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0 || !ReadMore(left)) return false;
  }
}

int Terminal::WaitForExit(std::chrono::milliseconds timeout) {
  if (!child_.has_value()) return -1;
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (std::chrono::steady_clock::now() < deadline) {
    // A full terminal would hold the program up.
    ReadMore(std::chrono::milliseconds(10));
    auto end = child_->WaitFor(std::chrono::milliseconds(10));
    if (end.ok() && end->has_value()) {
      while (ReadMore(std::chrono::milliseconds(0))) {
      }
      return (*end)->ShellStatus();
    }
  }
  return -1;
}

bool Terminal::IsCooked() const {
  termios mode = {};
  EXPECT_EQ(::tcgetattr(slave_.get(), &mode), 0);
  return (mode.c_lflag & ICANON) != 0 && (mode.c_lflag & ECHO) != 0;
}

}  // namespace container::e2e
