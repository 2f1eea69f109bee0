#include "plugins/core_images/oci/reference.h"

#include <gtest/gtest.h>

#include <string>

namespace container::oci {
namespace {

constexpr char kHex[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const std::string kDigest = std::string("sha256:") + kHex;

struct Good {
  std::string text;
  std::string normalized;
  std::string familiar;
};

class GoodReferences : public testing::TestWithParam<Good> {};

TEST_P(GoodReferences, NormalizeAndShorten) {
  const auto reference = Reference::Parse(GetParam().text);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_EQ(reference->Normalized(), GetParam().normalized);
  EXPECT_EQ(reference->Familiar(), GetParam().familiar);
  // Both forms mean the same image.
  EXPECT_EQ(*Reference::Parse(reference->Normalized()), *reference);
  EXPECT_EQ(*Reference::Parse(reference->Familiar()), *reference);
}

INSTANTIATE_TEST_SUITE_P(
    All, GoodReferences,
    testing::Values(
        Good{"alpine", "docker.io/library/alpine:latest", "alpine:latest"},
        Good{"alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"},
        Good{"alpine@" + kDigest, "docker.io/library/alpine@" + kDigest, "alpine@" + kDigest},
        Good{"alpine:3.20@" + kDigest, "docker.io/library/alpine:3.20@" + kDigest,
             "alpine:3.20@" + kDigest},
        Good{"docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
        Good{"index.docker.io/library/alpine", "docker.io/library/alpine:latest", "alpine:latest"},
        Good{"org/app", "docker.io/org/app:latest", "org/app:latest"},
        Good{"library/org/app", "docker.io/library/org/app:latest", "library/org/app:latest"},
        Good{"quay.io/org/app:v1", "quay.io/org/app:v1", "quay.io/org/app:v1"},
        Good{"quay.io/app", "quay.io/app:latest", "quay.io/app:latest"},
        Good{"localhost/app", "localhost/app:latest", "localhost/app:latest"},
        Good{"localhost:5000/a/b:1", "localhost:5000/a/b:1", "localhost:5000/a/b:1"},
        Good{"127.0.0.1:5000/app", "127.0.0.1:5000/app:latest", "127.0.0.1:5000/app:latest"},
        Good{"[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"},
        Good{"[fd00::1]/app", "[fd00::1]/app:latest", "[fd00::1]/app:latest"},
        Good{"Host/app", "Host/app:latest", "Host/app:latest"},
        Good{"x/a.b-c_d__e--f", "docker.io/x/a.b-c_d__e--f:latest", "x/a.b-c_d__e--f:latest"},
        Good{"app:5000", "docker.io/library/app:5000", "app:5000"},
        Good{"app:_tag.A-1", "docker.io/library/app:_tag.A-1", "app:_tag.A-1"}));

TEST(Reference, RefusesWhatTheGrammarDoesNotHave) {
  for (const std::string& text : {std::string(),
                                  std::string("Alpine"),
                                  std::string("alpine:"),
                                  std::string(":tag"),
                                  std::string("alpine@"),
                                  std::string("alpine@sha256:abc"),
                                  std::string("alpine@md5:") + kHex,
                                  std::string("org//app"),
                                  std::string("/app"),
                                  std::string("org/"),
                                  std::string("-app"),
                                  std::string("app-"),
                                  std::string("a..b"),
                                  std::string("a___b"),
                                  std::string("a._b"),
                                  std::string("org/App"),
                                  std::string("quay.io/App"),
                                  std::string("a b"),
                                  std::string("alpine:-tag"),
                                  std::string("alpine:.tag"),
                                  std::string("a:b:c"),
                                  std::string("host:port/app"),
                                  std::string("-host.io/app"),
                                  std::string("host-.io/app"),
                                  std::string("ho_st.io:5/app"),
                                  std::string("[::1/app"),
                                  std::string("[xyz]/app"),
                                  std::string("[::1]5000/app"),
                                  std::string(kHex),
                                  std::string("../etc.d"),
                                  std::string("app\n"),
                                  "alpine:" + std::string(129, 'a'),
                                  std::string(256, 'a'),
                                  "alpine@" + kDigest + "0"}) {
    EXPECT_EQ(Reference::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(Reference, KeepsTheLimits) {
  EXPECT_TRUE(Reference::Parse("alpine:" + std::string(128, 'a')).ok());
  EXPECT_TRUE(Reference::Parse("quay.io/" + std::string(255, 'a')).ok());
  EXPECT_FALSE(Reference::Parse("quay.io/" + std::string(256, 'a')).ok());
}

TEST(Reference, NamesWithoutARegistryLeadToTheDefaultDomain) {
  const auto normalized = [](const std::string& text) {
    return Reference::Parse(text, "quay.io:5000")->Normalized();
  };
  EXPECT_EQ(normalized("alpine"), "quay.io:5000/alpine:latest");
  EXPECT_EQ(normalized("library/alpine:3"), "quay.io:5000/library/alpine:3");
  EXPECT_EQ(normalized("org/app@" + kDigest), "quay.io:5000/org/app@" + kDigest);
  EXPECT_EQ(normalized("docker.io/alpine"), "docker.io/library/alpine:latest");
  EXPECT_EQ(normalized("ghcr.io/app"), "ghcr.io/app:latest");
  EXPECT_EQ(normalized("localhost/app"), "localhost/app:latest");
}

TEST(Reference, ADefaultDomainMustBeReadAsOne) {
  EXPECT_EQ(*CheckDefaultDomain("index.docker.io"), "docker.io");
  for (const char* good : {"docker.io", "quay.io", "host:5000", "localhost", "[::1]:5000"}) {
    EXPECT_EQ(*CheckDefaultDomain(good), good);
  }
  for (const char* bad : {"", "myhost", "quay.io/org", "https://quay.io", "ho_st.io", "a b"}) {
    EXPECT_EQ(CheckDefaultDomain(bad).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(Reference, NamesWithoutAGrammarStayAsTheyAre) {
  EXPECT_EQ(FamiliarName("docker.io/library/alpine:3"), "alpine:3");
  EXPECT_EQ(FamiliarName("Not A Name"), "Not A Name");
  // Shorter, they would mean other registries.
  EXPECT_EQ(FamiliarName("docker.io/a.io/b:1"), "docker.io/a.io/b:1");
  EXPECT_EQ(FamiliarName("docker.io/localhost/b:1"), "docker.io/localhost/b:1");
  EXPECT_EQ(FamiliarName("docker.io/library/a/b:1"), "library/a/b:1");
}

}  // namespace
}  // namespace container::oci
