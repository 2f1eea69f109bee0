#include "plugins/runtime_linux/process_log.h"

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugins/runtime_linux/console_log.h"

namespace container::runtime_linux {
namespace {

constexpr char kTime[] = "2026-01-31T12:00:00.5Z";

TEST(ProcessLogTest, LinesAndPieces) {
  EXPECT_EQ(FormatLogRecords(kTime, "stdout", "a\n\nb"),
            "2026-01-31T12:00:00.5Z stdout F a\n"
            "2026-01-31T12:00:00.5Z stdout F \n"
            "2026-01-31T12:00:00.5Z stdout P b\n");
  EXPECT_EQ(FormatLogRecords(kTime, "stderr", "\n"), "2026-01-31T12:00:00.5Z stderr F \n");
  EXPECT_EQ(FormatLogRecords(kTime, "stdout", ""), "");
}

TEST(ProcessLogTest, LongLinesAreSplit) {
  const std::string piece(ProcessLog::kMaxRecordBytes, 'x');
  // A line of exactly the longest text is one record.
  EXPECT_EQ(FormatLogRecords("T", "stdout", piece + "\n"),
            absl::StrCat("T stdout F ", piece, "\n"));
  EXPECT_EQ(FormatLogRecords("T", "stdout", piece + "y\n"),
            absl::StrCat("T stdout P ", piece, "\nT stdout F y\n"));
  EXPECT_EQ(FormatLogRecords("T", "stdout", piece + piece),
            absl::StrCat("T stdout P ", piece, "\nT stdout P ", piece, "\n"));
}

TEST(ProcessLogTest, AppendsToWhatEarlierRunsWrote) {
  auto folder = base::TemporaryDirectory::Create();
  ASSERT_TRUE(folder.ok());
  const std::string path = folder->path() + "/container.log";
  for (const char* text : {"one\n", "two\n"}) {
    auto log = ProcessLog::Open(path);
    ASSERT_TRUE(log.ok()) << log.status();
    EXPECT_TRUE(log->Append("stdout", text).ok());
  }
  EXPECT_THAT(*base::ReadFile(path),
              ::testing::MatchesRegex("[-0-9T:.]+Z stdout F one\n[-0-9T:.]+Z stdout F two\n"));
}

TEST(ConsoleLogTest, KeepsTheEndInBoundedSpace) {
  auto folder = base::TemporaryDirectory::Create();
  ASSERT_TRUE(folder.ok());
  const std::string path = folder->path() + "/console.log";
  auto log = ConsoleLog::Create(path);
  ASSERT_TRUE(log.ok()) << log.status();
  const std::string block(64 << 10, '.');
  for (int i = 0; i < 40; ++i) log->Append(block);
  log->Append("\x1b[1mKernel panic\r\n");
  EXPECT_LE(base::ReadFile(path)->size(), ConsoleLog::kMaxFileBytes);
  EXPECT_EQ(base::ReadFile(path + ".1")->size(), ConsoleLog::kMaxFileBytes);
  EXPECT_LE(log->Tail().size(), ConsoleLog::kTailBytes);
  EXPECT_THAT(log->Tail(), ::testing::EndsWith(".[1mKernel panic"));
  // A new boot starts anew.
  ASSERT_TRUE(ConsoleLog::Create(path).ok());
  EXPECT_EQ(*base::ReadFile(path), "");
}

}  // namespace
}  // namespace container::runtime_linux
