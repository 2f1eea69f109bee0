#include "apiserver/containers/cri_log.h"

#include <fcntl.h>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "gtest/gtest.h"

namespace container::apiserver {
namespace {

std::string Line(int second, absl::string_view stream, absl::string_view tag,
                 absl::string_view text) {
  return absl::StrCat("2026-01-31T12:00:0", second, ".5Z ", stream, " ", tag, " ", text, "\n");
}

class LogReaderTest : public testing::Test {
 protected:
  void Write(const std::string& content) {
    base::Fd file = base::Open(path_, O_WRONLY | O_CREAT | O_APPEND, 0600).value();
    ASSERT_TRUE(base::WriteAll(file.get(), content).ok());
  }
  std::string All(int64_t tail, LogReader::Format format = LogReader::Format::kCri) {
    auto reader = LogReader::Open(path_, format, tail);
    EXPECT_TRUE(reader.ok()) << reader.status();
    return Rest(*reader);
  }
  static std::string Rest(LogReader& reader) {
    std::string all;
    for (;;) {
      auto chunk = reader.Next();
      EXPECT_TRUE(chunk.ok()) << chunk.status();
      if (!chunk.ok() || !chunk->has_value()) return all;
      EXPECT_LE((*chunk)->data.size(), kMostLogBytes);
      all += (*chunk)->data;
    }
  }
  base::TemporaryDirectory folder_ = base::TemporaryDirectory::Create().value();
  std::string path_ = folder_.path() + "/container.log";
};

TEST_F(LogReaderTest, StreamsAndTimes) {
  Write(Line(1, "stdout", "F", "one") + Line(1, "stdout", "F", "") + Line(2, "stderr", "P", "tw") +
        Line(2, "stderr", "F", "o") + Line(3, "stdout", "P", "no newline"));
  auto reader = LogReader::Open(path_, LogReader::Format::kCri, -1).value();
  auto chunk = reader.Next().value().value();
  EXPECT_EQ(chunk.data, "one\n\n");
  EXPECT_FALSE(chunk.standard_error);
  EXPECT_EQ(chunk.time_ns, 1769860801500000000);
  chunk = reader.Next().value().value();
  EXPECT_EQ(chunk.data, "two\n");
  EXPECT_TRUE(chunk.standard_error);
  EXPECT_EQ(reader.Next().value().value().data, "no newline");
  EXPECT_FALSE(reader.Next().value().has_value());
}

TEST_F(LogReaderTest, GoesOnWhenTheFileGrows) {
  Write("2026-01-31T12:00:01Z stdout F ha");
  auto reader = LogReader::Open(path_, LogReader::Format::kCri, -1).value();
  EXPECT_EQ(Rest(reader), "") << "a half-written line waits";
  Write("lf\n" + Line(2, "stdout", "F", "more"));
  EXPECT_EQ(Rest(reader), "half\nmore\n");
}

TEST_F(LogReaderTest, Tail) {
  Write(Line(1, "stdout", "F", "one") + Line(2, "stdout", "P", "tw") + Line(2, "stdout", "F", "o") +
        Line(3, "stderr", "F", "three"));
  EXPECT_EQ(All(0), "");
  EXPECT_EQ(All(1), "three\n");
  EXPECT_EQ(All(2), "two\nthree\n");
  EXPECT_EQ(All(3), "one\ntwo\nthree\n");
  EXPECT_EQ(All(9), "one\ntwo\nthree\n");
}

TEST_F(LogReaderTest, TailAcrossBlocks) {
  std::string content;
  std::string last;
  for (int i = 0; i < 5000; ++i) {
    const std::string text = absl::StrCat("line ", i, " ", std::string(i % 90, 'x'));
    content += Line(1, "stdout", "F", text);
    if (i >= 5000 - 3000) last += text + "\n";
  }
  Write(content);
  EXPECT_EQ(All(3000), last);
}

TEST_F(LogReaderTest, WhatIsNotInTheFormatIsKept) {
  Write("nonsense\n" + Line(1, "stdout", "F", "fine") + "2026 stdout F x\n");
  EXPECT_EQ(All(-1), "nonsense\nfine\n2026 stdout F x\n");
}

TEST_F(LogReaderTest, AnEndlessLineComesInPieces) {
  const std::string text(200000, 'y');
  Write(Line(1, "stdout", "F", text));
  EXPECT_EQ(All(-1).find("yyyy") != std::string::npos, true);
  Write("\n");
}

TEST_F(LogReaderTest, Raw) {
  Write("boot\nmore");
  EXPECT_EQ(All(-1, LogReader::Format::kRaw), "boot\nmore");
  EXPECT_EQ(All(0, LogReader::Format::kRaw), "more");
}

TEST_F(LogReaderTest, NoFile) {
  EXPECT_EQ(LogReader::Open(path_, LogReader::Format::kCri, -1).status().code(),
            absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace container::apiserver
