#include "vminitd/users.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include "absl/strings/string_view.h"

namespace container::vminitd {
namespace {

constexpr char kPasswd[] =
    "root:x:0:0:root:/root:/bin/sh\n"
    "# a comment\n"
    "broken line\n"
    "bin:x:1:1:bin:/bin:/sbin/nologin\n"
    "app:x:1000:1001:An app:/home/app:/bin/sh\n"
    "nohome:x:1002:1002::\n"
    "77:x:5000:5000::/home/numeric:\n"
    "huge:x:4294967295:0::/:\n"
    "last:x:9:9::/last:/bin/sh";
constexpr char kGroup[] =
    "root:x:0:\n"
    "bin:x:1:root,app\n"
    "wheel:x:10:app\n"
    "app:x:1001:app\n"
    "staff:x:50:nobody,app\n";

absl::StatusOr<User> Resolve(absl::string_view user, std::vector<uint32_t> extra = {}) {
  return ResolveUser(user, kPasswd, kGroup, extra);
}

TEST(UsersTest, EmptyIsRoot) {
  EXPECT_EQ(*Resolve(""), (User{0, 0, {1}, "/root"}));
  EXPECT_EQ(*ResolveUser("", "", "", {}), (User{0, 0, {}, "/root"}));
}

TEST(UsersTest, NameBringsItsGroupHomeAndSupplementalGroups) {
  EXPECT_EQ(*Resolve("app"), (User{1000, 1001, {1, 10, 50, 1001}, "/home/app"}));
  EXPECT_EQ(*Resolve("last"), (User{9, 9, {}, "/last"}));
}

TEST(UsersTest, NumberUsesTheEntryWhereThereIsOne) {
  EXPECT_EQ(*Resolve("1000"), (User{1000, 1001, {1, 10, 50, 1001}, "/home/app"}));
  EXPECT_EQ(*Resolve("4242"), (User{4242, 0, {}, "/"}));
}

TEST(UsersTest, NameOfDigitsWinsOverTheNumber) {
  EXPECT_EQ(*Resolve("77"), (User{5000, 5000, {}, "/home/numeric"}));
}

TEST(UsersTest, ExplicitGroupReplacesTheGroups) {
  EXPECT_EQ(*Resolve("app:staff"), (User{1000, 50, {}, "/home/app"}));
  EXPECT_EQ(*Resolve("app:7"), (User{1000, 7, {}, "/home/app"}));
  EXPECT_EQ(*Resolve("1234:5678"), (User{1234, 5678, {}, "/"}));
}

TEST(UsersTest, ExtraGroupsAreMerged) {
  EXPECT_EQ(*Resolve("app", {10, 3}), (User{1000, 1001, {1, 3, 10, 50, 1001}, "/home/app"}));
  EXPECT_EQ(*Resolve("1:1", {3}), (User{1, 1, {3}, "/bin"}));
}

TEST(UsersTest, MissingHomeIsTheRoot) { EXPECT_EQ(Resolve("nohome")->home, "/"); }

TEST(UsersTest, UnknownNamesAreErrors) {
  for (const char* user :
       {"nobody", "app:nogroup", "app:", "huge", "-1", "+1", "4294967295", "a b"}) {
    EXPECT_EQ(Resolve(user).status().code(), absl::StatusCode::kInvalidArgument) << user;
  }
  EXPECT_THAT(std::string(Resolve("nobody").status().message()),
              testing::HasSubstr("unable to find user nobody"));
}

}  // namespace
}  // namespace container::vminitd
