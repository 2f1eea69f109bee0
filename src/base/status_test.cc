#include "base/status.h"

#include <cerrno>

#include "gtest/gtest.h"

namespace container::base {
namespace {

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("it is odd");
  return value / 2;
}

absl::StatusOr<int> Quarter(int value) {
  ASSIGN_OR_RETURN(int half, Half(value), "halve it");
  ASSIGN_OR_RETURN(half, Half(half));
  return half;
}

absl::Status Check(int value) {
  RETURN_IF_ERROR(Quarter(value).status(), "quarter it");
  return absl::OkStatus();
}

TEST(StatusTest, EachLevelAddsAPhraseAndKeepsTheCode) {
  EXPECT_EQ(Check(3), absl::InvalidArgumentError("quarter it: halve it: it is odd"));
  EXPECT_EQ(Check(2), absl::InvalidArgumentError("quarter it: it is odd"));
  EXPECT_EQ(Check(8), absl::OkStatus());
  EXPECT_EQ(*Quarter(8), 2);
}

TEST(StatusTest, ErrnoChoosesTheCode) {
  EXPECT_EQ(ErrnoStatus(ENOENT, "open x"),
            absl::NotFoundError("open x: No such file or directory"));
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(ECONNREFUSED, "connect").code(), absl::StatusCode::kUnavailable);
}

}  // namespace
}  // namespace container::base
