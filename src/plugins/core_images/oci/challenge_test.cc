#include "plugins/core_images/oci/challenge.h"

#include <gtest/gtest.h>

#include "plugins/core_images/oci/http.h"
#include "plugins/core_images/oci/registry.h"

namespace container::oci {
namespace {

TEST(Challenge, ReadsABearerChallenge) {
  const auto challenges =
      ParseChallenges(R"(Bearer realm="https://auth.docker.io/token",service="registry.docker.io",)"
                      R"(scope="repository:library/alpine:pull,push")");
  ASSERT_EQ(challenges.size(), 1u);
  EXPECT_EQ(challenges[0], (Challenge{"bearer",
                                      {{"realm", "https://auth.docker.io/token"},
                                       {"service", "registry.docker.io"},
                                       {"scope", "repository:library/alpine:pull,push"}}}));
}

TEST(Challenge, ReadsSeveralInOneHeader) {
  const auto challenges =
      ParseChallenges(R"(Negotiate, BASIC realm="a \"b\"", charset=UTF-8 , Bearer REALM = x ,)");
  ASSERT_EQ(challenges.size(), 3u);
  EXPECT_EQ(challenges[0], (Challenge{"negotiate", {}}));
  EXPECT_EQ(challenges[1], (Challenge{"basic", {{"realm", "a \"b\""}, {"charset", "UTF-8"}}}));
  EXPECT_EQ(challenges[2], (Challenge{"bearer", {{"realm", "x"}}}));
}

TEST(Challenge, SurvivesNonsense) {
  EXPECT_TRUE(ParseChallenges("").empty());
  EXPECT_TRUE(ParseChallenges("=").empty());
  EXPECT_TRUE(ParseChallenges("a=b").empty());
  EXPECT_EQ(ParseChallenges("Bearer realm=\"never ends").size(), 1u);
  EXPECT_EQ(ParseChallenges("Bearer realm=").size(), 1u);
  EXPECT_EQ(ParseChallenges("Bearer realm=\"x\\").size(), 1u);
}

TEST(Url, OriginsCompare) {
  EXPECT_EQ(UrlOrigin("https://Registry.example/v2/"), "https://registry.example");
  EXPECT_EQ(UrlOrigin("https://registry.example:443/x"), "https://registry.example");
  EXPECT_EQ(UrlOrigin("http://127.0.0.1:5000/x"), "http://127.0.0.1:5000");
  EXPECT_NE(UrlOrigin("http://a.example/"), UrlOrigin("https://a.example/"));
  EXPECT_EQ(UrlOrigin("nonsense"), "");
  EXPECT_EQ(UrlHost("http://[::1]:5000/"), "::1");
  EXPECT_EQ(UrlEncode("repository:a/b:pull"), "repository%3Aa%2Fb%3Apull");
}

TEST(Scheme, AutoIsHttpForWhatIsNear) {
  for (const char* domain : {"localhost", "localhost:5000", "127.0.0.1:1", "10.1.2.3", "[::1]:5000",
                             "172.16.0.1", "172.31.255.1:80", "192.168.1.1", "[fd00::1]"}) {
    EXPECT_EQ(SchemeFor({}, domain), "http") << domain;
    EXPECT_EQ(SchemeFor({Scheme::kHttps}, domain), "https") << domain;
  }
  for (const char* domain : {"docker.io", "quay.io", "172.32.0.1", "11.0.0.1", "8.8.8.8:5000",
                             "[2001:db8::1]", "localhost.example", "10.example"}) {
    EXPECT_EQ(SchemeFor({}, domain), "https") << domain;
    EXPECT_EQ(SchemeFor({Scheme::kHttp}, domain), "http") << domain;
  }
}

}  // namespace
}  // namespace container::oci
