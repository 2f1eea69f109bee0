#include "link/frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

namespace container::link {
namespace {

using testing::ElementsAre;

void Feed(FrameReader& reader, absl::string_view bytes) {
  while (!bytes.empty()) {
    const std::span<char> space = reader.Space();
    const size_t count = std::min(space.size(), bytes.size());
    std::copy_n(bytes.data(), count, space.data());
    reader.Filled(count);
    bytes.remove_prefix(count);
  }
}

std::string Bytes(std::initializer_list<int> values) {
  return std::string(values.begin(), values.end());
}

TEST(FrameTest, BytesOfAFrame) {
  std::string out;
  AppendFrame(out, {FrameType::kRequest, 0x01020304, 6, "ab"});
  EXPECT_EQ(out, Bytes({2, 0, 0, 0, 4, 3, 2, 1, 1, 0, 6, 0, 'a', 'b'}));
  out.clear();
  AppendWindow(out, 7, 0x20000);
  EXPECT_EQ(out, Bytes({4, 0, 0, 0, 7, 0, 0, 0, 6, 0, 0, 0, 0, 0, 2, 0}));
}

TEST(FrameTest, FramesComeInPiecesAndTogether) {
  std::string bytes;
  AppendFrame(bytes, {FrameType::kData, 1, 0, "one"});
  AppendFrame(bytes, {FrameType::kClose, 1, 0, ""});
  AppendFrame(bytes, {static_cast<FrameType>(200), 9, 0, "of another time"});
  AppendFrame(bytes, {FrameType::kData, 2, 0, "two"});
  for (size_t step : {size_t{1}, size_t{5}, bytes.size()}) {
    FrameReader reader;
    std::vector<std::string> seen;
    for (size_t at = 0; at < bytes.size(); at += step) {
      Feed(reader, absl::string_view(bytes).substr(at, step));
      Frame frame;
      for (;;) {
        absl::StatusOr<bool> whole = reader.Next(frame);
        ASSERT_TRUE(whole.ok()) << whole.status();
        if (!*whole) break;
        seen.push_back(std::to_string(frame.stream) + std::string(frame.payload));
      }
    }
    EXPECT_THAT(seen, ElementsAre("1one", "1", "2two"));
  }
}

TEST(FrameTest, TheLargestMessagePasses) {
  const std::string large(kMaxMessageBytes, 'x');
  std::string bytes;
  AppendFrame(bytes, {FrameType::kRequest, 1, 1, large});
  FrameReader reader;
  Frame frame;
  for (size_t at = 0; at < bytes.size(); at += 10000) {
    Feed(reader, absl::string_view(bytes).substr(at, 10000));
    absl::StatusOr<bool> whole = reader.Next(frame);
    ASSERT_TRUE(whole.ok());
    ASSERT_EQ(*whole, at + 10000 >= bytes.size());
  }
  EXPECT_EQ(frame.payload, large);
}

TEST(FrameTest, NonsenseIsRefused) {
  for (const std::string& bytes : {
           Bytes({1, 0, 64, 0, 1, 0, 0, 0, 1, 0, 1, 0}),          // a request of 4 MiB and a byte
           Bytes({255, 255, 255, 255, 1, 0, 0, 0, 99, 0, 0, 0}),  // an unknown type, oversized
           Bytes({1, 0, 2, 0, 1, 0, 0, 0, 3, 0, 0, 0}),           // data of 128 KiB and a byte
           Bytes({1, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0}),           // a half-close with a payload
           Bytes({0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0}),           // stream 0
       }) {
    FrameReader reader;
    Feed(reader, bytes);
    Frame frame;
    EXPECT_TRUE(absl::IsDataLoss(reader.Next(frame).status()));
  }
  EXPECT_FALSE(WindowBytes({FrameType::kWindow, 1, 0, "abc"}).ok());
}

TEST(FrameTest, StatusesCross) {
  std::string out;
  AppendResponse(out, 1, absl::NotFoundError("no such thing"), "ignored");
  FrameReader reader;
  Feed(reader, out);
  Frame frame;
  ASSERT_TRUE(*reader.Next(frame));
  EXPECT_EQ(ResponseStatus(frame), absl::NotFoundError("no such thing"));
  frame.code = 1234;
  EXPECT_EQ(ResponseStatus(frame), absl::UnknownError("no such thing"));
}

}  // namespace
}  // namespace container::link
