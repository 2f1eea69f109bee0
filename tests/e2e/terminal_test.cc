// `run -it` and `exec -it` behave as a terminal.
#include "e2e/terminal.h"

#include "e2e/system_fixture.h"
#include "gmock/gmock.h"

namespace container::e2e {
namespace {

using ::testing::HasSubstr;

class TerminalTest : public SystemTest {};

TEST_F(TerminalTest, AShellWithSizeResizeInterruptAndStatus) {
  Terminal terminal(instance().Spec({"run", "--rm", "-it", "first", "sh"}), 31, 97);
  terminal.Type("stty size; tty\n");
  EXPECT_TRUE(terminal.WaitForText("31 97")) << terminal.seen();
  EXPECT_TRUE(terminal.WaitForText("/dev/pts/0")) << terminal.seen();
  EXPECT_FALSE(terminal.IsCooked());

  terminal.Resize(40, 120);
  terminal.Type("while [ \"$(stty size)\" != '40 120' ]; do sleep 0.1; done; echo re''sized\n");
  EXPECT_TRUE(terminal.WaitForText("resized")) << terminal.seen();

  // The shell reads ahead what is typed before its command runs: wait for the command.
  terminal.Type("sh -c 'echo sl\"\"eeping; exec sleep 1000'\n");
  ASSERT_TRUE(terminal.WaitForText("sleeping")) << terminal.seen();
  terminal.Type("\x03");
  EXPECT_TRUE(terminal.WaitForText("^C")) << terminal.seen();
  terminal.Type("echo in''terrupted\n");
  EXPECT_TRUE(terminal.WaitForText("interrupted")) << terminal.seen();

  terminal.Type("exit 5\n");
  EXPECT_EQ(terminal.WaitForExit(), 5) << terminal.seen();
  EXPECT_TRUE(terminal.IsCooked());
}

TEST_F(TerminalTest, EndOfFileEndsAShell) {
  Terminal terminal(instance().Spec({"run", "--rm", "-it", "first", "sh"}), 24, 80);
  terminal.Type("echo re''ady\n");
  ASSERT_TRUE(terminal.WaitForText("ready")) << terminal.seen();
  terminal.Type("\x04");
  EXPECT_EQ(terminal.WaitForExit(), 0) << terminal.seen();
}

TEST_F(TerminalTest, ExecOnATerminal) {
  ASSERT_EQ(Run({"run", "-d", "--name", "host", "first", "sleep", "1000"}).status, 0);
  Terminal terminal(instance().Spec({"exec", "-it", "host", "sh"}), 33, 77);
  terminal.Type("stty size; hostname\n");
  EXPECT_TRUE(terminal.WaitForText("33 77")) << terminal.seen();
  EXPECT_TRUE(terminal.WaitForText("host")) << terminal.seen();
  terminal.Type("exit 9\n");
  EXPECT_EQ(terminal.WaitForExit(), 9) << terminal.seen();
  EXPECT_EQ(Run({"rm", "-f", "host"}).status, 0);
}

TEST_F(TerminalTest, NoTerminalIsSaid) {
  Result result = Run({"run", "--rm", "-it", "first", "sh"}, "exit\n");
  EXPECT_NE(result.status, 0);
  EXPECT_THAT(result.err, HasSubstr("TTY"));
}

}  // namespace
}  // namespace container::e2e
