#include "plugins/core_images/archive/source.h"

#include <gtest/gtest.h>

#include <string>

namespace container::archive {
namespace {

std::string Pattern(size_t size) {
  std::string text(size, '\0');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 31 + i / 251);
  return text;
}

std::string ReadAllOf(Source& source, size_t step, absl::Status& status) {
  std::string all;
  std::string buffer(step, '\0');
  for (;;) {
    const absl::StatusOr<size_t> got = source.Read(buffer);
    status = got.status();
    if (!got.ok() || *got == 0) return all;
    all.append(buffer, 0, *got);
  }
}

class FailingSource : public Source {
 public:
  absl::StatusOr<size_t> Read(std::span<char> buffer) override {
    if (left_ == 0) return absl::UnavailableError("gone");
    const size_t count = std::min(left_, buffer.size());
    left_ -= count;
    std::fill_n(buffer.begin(), count, 'x');
    return count;
  }

 private:
  size_t left_ = 3 * ReadAhead::kBufferBytes + 5;
};

TEST(ReadAheadTest, GivesTheSameBytes) {
  for (const size_t size :
       {size_t{0}, size_t{1}, ReadAhead::kBufferBytes, ReadAhead::kBufferBytes * 20 + 17}) {
    const std::string text = Pattern(size);
    MemorySource memory(text);
    ReadAhead ahead(memory);
    absl::Status status;
    EXPECT_EQ(ReadAllOf(ahead, 100'003, status), text);
    EXPECT_TRUE(status.ok());
  }
}

TEST(ReadAheadTest, PassesTheErrorOn) {
  FailingSource failing;
  ReadAhead ahead(failing);
  absl::Status status;
  ReadAllOf(ahead, 4096, status);
  EXPECT_EQ(status, absl::UnavailableError("gone"));
}

TEST(ReadAheadTest, CanBeLeftEarly) {
  const std::string text = Pattern(ReadAhead::kBufferBytes * 30);
  MemorySource memory(text);
  ReadAhead ahead(memory);
  char byte;
  EXPECT_EQ(*ahead.Read({&byte, 1}), 1u);
}

}  // namespace
}  // namespace container::archive
