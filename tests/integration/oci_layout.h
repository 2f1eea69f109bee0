// Writes OCI image layouts for tests, right or wrong.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "nlohmann/json.hpp"
#include "plugins/core_images/archive/tar_builder.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/manifest.h"
#include "tests/integration/registry_fixture.h"

namespace container::testing {

struct TestLayer {
  oci::Descriptor descriptor;
  std::string diff_id;
};

class OciLayout {
 public:
  explicit OciLayout(std::string path) : path_(std::move(path)) {
    base::MakeDirectories(path_ + "/blobs/sha256").IgnoreError();
    base::WriteFileAtomically(path_ + "/oci-layout", R"({"imageLayoutVersion":"1.0.0"})")
        .IgnoreError();
  }

  const std::string& path() const { return path_; }

  oci::Descriptor Blob(const std::string& content, const std::string& type) {
    const std::string digest = oci::Sha256Digest(content);
    blobs_[digest] = content;
    base::WriteFileAtomically(
        absl::StrCat(path_, "/blobs/sha256/", std::string(oci::DigestHex(digest))), content)
        .IgnoreError();
    return {type, digest, static_cast<int64_t>(content.size())};
  }

  /// A layer of the given files, gzipped.
  TestLayer Layer(const std::map<std::string, std::string>& files) {
    archive::TarBuilder tar;
    for (const auto& [name, content] : files) tar.File(name, content);
    const std::string bytes = tar.Finish();
    const std::string file = path_ + "/layer.tmp";
    base::WriteFileAtomically(file, bytes).IgnoreError();
    const std::string compressed = RunTool("gzip", {"-n", "-c", file}).value_or("");
    base::RemoveFile(file).IgnoreError();
    return {Blob(compressed, oci::kOciLayerGzip), oci::Sha256Digest(bytes)};
  }

  oci::Descriptor Image(const std::vector<TestLayer>& layers, const oci::Platform& platform) {
    nlohmann::json diff_ids = nlohmann::json::array();
    nlohmann::json list = nlohmann::json::array();
    for (const TestLayer& layer : layers) {
      diff_ids.push_back(layer.diff_id);
      list.push_back(layer.descriptor.ToJson());
    }
    const nlohmann::json config = {{"os", platform.os},
                                   {"architecture", platform.architecture},
                                   {"created", "2024-05-06T07:08:09Z"},
                                   {"config", {{"Cmd", {"/bin/sh"}}}},
                                   {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}}};
    const nlohmann::json manifest = {{"schemaVersion", 2},
                                     {"mediaType", oci::kOciManifest},
                                     {"config", Blob(config.dump(), oci::kOciConfig).ToJson()},
                                     {"layers", list}};
    oci::Descriptor descriptor = Blob(manifest.dump(), oci::kOciManifest);
    descriptor.platform = platform;
    return descriptor;
  }

  oci::Descriptor Index(const std::vector<oci::Descriptor>& entries) {
    return Blob(IndexJson(entries).dump(), oci::kOciIndex);
  }

  /// Writes index.json: each name (the ref.name annotation) and what it stands for.
  void Name(const std::vector<std::pair<std::string, oci::Descriptor>>& names) {
    std::vector<oci::Descriptor> entries;
    for (auto [name, descriptor] : names) {
      if (!name.empty()) descriptor.annotations[oci::kRefNameAnnotation] = name;
      descriptor.platform.reset();
      entries.push_back(std::move(descriptor));
    }
    base::WriteFileAtomically(path_ + "/index.json", IndexJson(entries).dump()).IgnoreError();
  }

  /// By digest.
  const std::map<std::string, std::string>& blobs() const { return blobs_; }

 private:
  static nlohmann::json IndexJson(const std::vector<oci::Descriptor>& entries) {
    nlohmann::json list = nlohmann::json::array();
    for (const oci::Descriptor& entry : entries) list.push_back(entry.ToJson());
    return {{"schemaVersion", 2}, {"mediaType", oci::kOciIndex}, {"manifests", list}};
  }

  std::string path_;
  std::map<std::string, std::string> blobs_;
};

}  // namespace container::testing
