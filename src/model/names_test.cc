#include "model/names.h"

#include <string>

#include "gtest/gtest.h"

namespace container::model {
namespace {

TEST(NamesTest, ContainerIds) {
  for (const char* id : {"ab", "web-1", "A_b.c", "0a"})
    EXPECT_TRUE(ValidateContainerId(id).ok()) << id;
  for (const std::string& id :
       {std::string(), std::string("a"), std::string("-a"), std::string("a/b"), std::string("a b"),
        std::string("../x"), std::string(64, 'a')}) {
    EXPECT_EQ(ValidateContainerId(id).code(), absl::StatusCode::kInvalidArgument) << id;
  }
}

TEST(NamesTest, Environment) {
  EXPECT_TRUE(ValidateEnvironmentEntry("A=").ok());
  EXPECT_FALSE(ValidateEnvironmentEntry("=a").ok());
  EXPECT_FALSE(ValidateEnvironmentEntry("A").ok());
}

}  // namespace
}  // namespace container::model
