#include "plugins/core_images/oci/manifest.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "plugins/core_images/oci/digest.h"

namespace container::oci {
namespace {

using nlohmann::json;
using Code = absl::StatusCode;

const std::string kDigestA = Sha256Digest("a");
const std::string kDigestB = Sha256Digest("b");

json GoodManifest() {
  return {{"schemaVersion", 2},
          {"mediaType", kOciManifest},
          {"config", {{"mediaType", kOciConfig}, {"digest", kDigestA}, {"size", 10}}},
          {"layers", {{{"mediaType", kOciLayerGzip}, {"digest", kDigestB}, {"size", 20}}}}};
}

json IndexEntry(const std::string& os, const std::string& architecture,
                const std::string& variant = "") {
  json platform = {{"os", os}, {"architecture", architecture}};
  if (!variant.empty()) platform["variant"] = variant;
  return {{"mediaType", kOciManifest},
          {"digest", Sha256Digest(os + architecture + variant)},
          {"size", 1},
          {"platform", platform}};
}

Code ParseCode(const json& document) { return ParseDocument(document.dump(), "").status().code(); }

TEST(Manifest, ReadsOciAndDocker) {
  auto document = ParseDocument(GoodManifest().dump(), kOciManifest);
  ASSERT_TRUE(document.ok()) << document.status();
  const auto& manifest = std::get<Manifest>(*document);
  EXPECT_EQ(manifest.config.digest, kDigestA);
  ASSERT_EQ(manifest.layers.size(), 1u);
  EXPECT_EQ(manifest.layers[0].size_bytes, 20);

  json docker = GoodManifest();
  docker["mediaType"] = kDockerManifest;
  docker["config"]["mediaType"] = kDockerConfig;
  EXPECT_TRUE(ParseDocument(docker.dump(), "").ok());
  // OCI 1.0 had no mediaType; a registry may answer with a type that says nothing.
  json bare = GoodManifest();
  bare.erase("mediaType");
  EXPECT_TRUE(ParseDocument(bare.dump(), "application/json").ok());
}

TEST(Manifest, RefusesWrongShapes) {
  EXPECT_EQ(ParseDocument("", "").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(ParseDocument("[]", "").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(ParseDocument("{", "").status().code(), Code::kInvalidArgument);
  const auto with = [](const char* pointer, const json& value) {
    json document = GoodManifest();
    document[json::json_pointer(pointer)] = value;
    return ParseCode(document);
  };
  EXPECT_EQ(with("/schemaVersion", "2"), Code::kInvalidArgument);
  EXPECT_EQ(with("/schemaVersion", 1), Code::kUnimplemented);
  EXPECT_EQ(with("/mediaType", 5), Code::kInvalidArgument);
  EXPECT_EQ(with("/mediaType", "text/plain"), Code::kInvalidArgument);
  EXPECT_EQ(with("/manifests", json::array()), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers", json::object()), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0", "x"), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0/digest", "sha256:../../etc/passwd"), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0/digest", "sha512:aa"), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0/size", -1), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0/size", 1.5), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0/size", UINT64_MAX), Code::kInvalidArgument);
  EXPECT_EQ(with("/layers/0/annotations", json{{"a", 1}}), Code::kInvalidArgument);
  EXPECT_EQ(with("/config/mediaType", "application/vnd.cncf.helm.config.v1+json"),
            Code::kFailedPrecondition);
  EXPECT_EQ(
      with("/layers/0/mediaType", "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
      Code::kUnimplemented);
  EXPECT_EQ(ParseDocument(GoodManifest().dump(), kOciIndex).status().code(),
            Code::kInvalidArgument);
}

TEST(Manifest, BoundsDepthAndSize) {
  const std::string deep = absl::StrCat("{\"schemaVersion\":2,\"x\":", std::string(100000, '['),
                                        std::string(100000, ']'), "}");
  EXPECT_EQ(ParseDocument(deep, "").status().code(), Code::kInvalidArgument);
  EXPECT_EQ(ParseDocument(std::string(kManifestLimitBytes + 1, ' '), "").status().code(),
            Code::kResourceExhausted);
  json many = GoodManifest();
  many["layers"] = json(std::vector<json>(kLayerLimit + 1, many["layers"][0]));
  EXPECT_EQ(ParseCode(many), Code::kResourceExhausted);
}

TEST(Index, SelectsTheBestAndLeavesAttestationsOut) {
  json attestation = IndexEntry("unknown", "unknown");
  attestation["annotations"] = {{"vnd.docker.reference.type", "attestation-manifest"}};
  const json document = {{"schemaVersion", 2},
                         {"mediaType", kOciIndex},
                         {"manifests",
                          {attestation, IndexEntry("linux", "386"), IndexEntry("linux", "arm64"),
                           IndexEntry("linux", "amd64")}}};
  auto parsed = ParseDocument(document.dump(), "");
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& index = std::get<Index>(*parsed);
  const auto selected = SelectManifests(index, *Platform::Parse("linux/amd64"));
  ASSERT_EQ(selected.size(), 2u);
  EXPECT_EQ(selected[0].platform->architecture, "amd64");
  EXPECT_EQ(selected[1].platform->architecture, "386");
  EXPECT_TRUE(SelectManifests(index, *Platform::Parse("linux/s390x")).empty());
  EXPECT_EQ(OfferedPlatforms(index), "linux/386, linux/arm64/v8, linux/amd64");
}

TEST(Descriptor, SurvivesTheWayToJsonAndBack) {
  Descriptor descriptor{kOciManifest, kDigestA, 7, {{"k", "v"}}, Platform{"linux", "arm", "v7"}};
  const auto again = Descriptor::FromJson(descriptor.ToJson());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->ToJson(), descriptor.ToJson());
}

TEST(Config, ReadsWhatMatters) {
  const json document = {{"os", "linux"},
                         {"architecture", "amd64"},
                         {"created", "2024-01-01T00:00:00Z"},
                         {"rootfs", {{"type", "layers"}, {"diff_ids", {kDigestA, kDigestB}}}}};
  const auto config = ParseConfig(document.dump());
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->diff_ids, (std::vector<std::string>{kDigestA, kDigestB}));
  EXPECT_EQ(config->platform.ToString(), "linux/amd64");
  EXPECT_FALSE(ParseConfig("{}").ok());
  EXPECT_FALSE(ParseConfig(R"({"rootfs":{"diff_ids":[1]}})").ok());
  EXPECT_FALSE(ParseConfig(R"({"rootfs":{"diff_ids":["x"]}})").ok());
  EXPECT_TRUE(ParseConfig(R"({"rootfs":{"diff_ids":null}})").ok());
}

TEST(ChainId, FollowsTheSpecification) {
  EXPECT_EQ(ChainIdHex({kDigestA}), DigestHex(kDigestA));
  EXPECT_EQ(ChainIdHex({kDigestA, kDigestB}),
            DigestHex(Sha256Digest(absl::StrCat(kDigestA, " ", kDigestB))));
  EXPECT_EQ(ChainIdHex({}), DigestHex(Sha256Digest("")));
}

TEST(Digest, OfKnownText) {
  EXPECT_EQ(Sha256Digest(""),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(ShortDigest(Sha256Digest("")), "e3b0c44298fc");
}

}  // namespace
}  // namespace container::oci
