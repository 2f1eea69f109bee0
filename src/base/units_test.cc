#include "base/units.h"

#include "gtest/gtest.h"

namespace container::base {
namespace {

TEST(UnitsTest, SizesAreBinary) {
  EXPECT_EQ(*ParseSizeBytes("512"), 512);
  EXPECT_EQ(*ParseSizeBytes("64k"), 64 << 10);
  EXPECT_EQ(*ParseSizeBytes("1.5G"), int64_t{3} << 29);
  EXPECT_EQ(*ParseSizeBytes("2 GiB"), int64_t{2} << 30);
  EXPECT_EQ(*ParseSizeBytes("1gb"), int64_t{1} << 30);
  EXPECT_EQ(*ParseSizeBytes("8P"), int64_t{8} << 50);
  for (const char* text : {"", "-1", "k", "1x", "1kk", "1 2", "9000P", "8192P", "1e5", "nan"}) {
    EXPECT_FALSE(ParseSizeBytes(text).ok()) << text;
  }
}

TEST(UnitsTest, SizesForPeople) {
  EXPECT_EQ(FormatSize(0), "0 B");
  EXPECT_EQ(FormatSize(1023), "1023 B");
  EXPECT_EQ(FormatSize(3565158), "3.4 MiB");
  EXPECT_EQ(FormatSize((1 << 20) - 1), "1.0 MiB");
}

TEST(UnitsTest, Ages) {
  using namespace std::chrono_literals;
  EXPECT_EQ(FormatAge(1s), "1 second ago");
  EXPECT_EQ(FormatAge(5min), "5 minutes ago");
  EXPECT_EQ(FormatAge(47h), "47 hours ago");
  EXPECT_EQ(FormatAge(24h * 21), "3 weeks ago");
  EXPECT_EQ(FormatAge(-5s), "just now");
}

TEST(UnitsTest, Signals) {
  for (const char* text : {"SIGTERM", "TERM", "term", "sigterm", "15"}) {
    EXPECT_EQ(*ParseSignal(text), 15) << text;
  }
  EXPECT_EQ(*ParseSignal("SIGRTMIN+3"), 37);
  for (const char* text : {"", "0", "65", "-1", "SIGNOPE", "9x"}) {
    EXPECT_FALSE(ParseSignal(text).ok()) << text;
  }
}

TEST(UnitsTest, Timestamps) {
  auto time = *ParseTimestamp("2026-01-31T12:00:00.5+01:00");
  EXPECT_EQ(FormatTimestamp(time), "2026-01-31T11:00:00.5Z");
  EXPECT_EQ(TimeFromNanoseconds(NanosecondsOf(time)), time);
  EXPECT_FALSE(ParseTimestamp("yesterday").ok());
}

}  // namespace
}  // namespace container::base
