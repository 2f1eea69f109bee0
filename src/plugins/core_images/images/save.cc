#include "plugins/core_images/images/save.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/file.h"
#include "base/status.h"
#include "base/uuid.h"
#include "fmt/format.h"
#include "plugins/core_images/images/catalog.h"
#include "plugins/core_images/images/export.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::images {
namespace {

constexpr size_t kBlockBytes = 512;
constexpr size_t kBufferBytes = 1 << 20;
constexpr int64_t kOctalSizeLimit = int64_t{1} << 33;  // of eleven digits
constexpr char kLayout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";

// A ustar header; sizes too large for it in the base-256 form that GNU tar and all others read.
std::string TarHeader(const std::string& name, char type, int64_t size_bytes) {
  std::string block(kBlockBytes, '\0');
  const auto put = [&](size_t offset, const std::string& text) {
    block.replace(offset, text.size(), text);
  };
  put(0, name);
  put(100, type == '5' ? "0000755" : "0000644");
  put(108, "0000000");
  put(116, "0000000");
  if (size_bytes < kOctalSizeLimit) {
    put(124, fmt::format("{:011o}", size_bytes));
  } else {
    block[124] = '\x80';
    for (int i = 0; i < 8; ++i) block[135 - i] = static_cast<char>(size_bytes >> (8 * i));
  }
  put(136, "00000000000");
  block[156] = type;
  put(257, std::string("ustar\00000", 8));
  uint32_t sum = 8 * ' ';
  for (const char c : block) sum += static_cast<uint8_t>(c);
  put(148, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  return block;
}

std::string BlobName(const std::string& digest) {
  return absl::StrCat("blobs/sha256/", oci::DigestHex(digest));
}

class Saver {
 public:
  Saver(store::ContentStore& store, const ArchiveSink& sink, Reporter& reporter,
        const Cancelled& cancelled)
      : store_(store), sink_(sink), reporter_(reporter), cancelled_(cancelled) {}

  absl::StatusOr<std::vector<std::string>> Run(const SaveOptions& options) {
    const std::unique_ptr<store::Lease> lease = store_.NewLease();
    std::vector<std::pair<store::NamedImage, Export>> images;
    std::set<std::string> names;
    progress_.task_id = "save";
    progress_.description = "Saving";
    for (const std::string& text : options.references) {
      ASSIGN_OR_RETURN(store::NamedImage image, FindImage(store_, text, options.default_domain));
      if (!names.insert(image.name).second) continue;
      ASSIGN_OR_RETURN(Export plan,
                       PlanExport(store_, *lease, image, options.platform, ExportIndex::kAsItIs));
      for (const oci::Descriptor& blob : plan.blobs) progress_.total_bytes += blob.size_bytes;
      images.emplace_back(std::move(image), std::move(plan));
    }
    if (images.empty()) return absl::InvalidArgumentError("there is no image to save");
    RETURN_IF_ERROR(sink_(TarHeader("blobs/", '5', 0) + TarHeader("blobs/sha256/", '5', 0)));
    nlohmann::json index = nlohmann::json::array();
    nlohmann::json docker = nlohmann::json::array();
    std::vector<std::string> saved;
    for (const auto& [image, plan] : images) {
      for (const oci::Descriptor& blob : plan.blobs) RETURN_IF_ERROR(WriteBlob(blob));
      for (const ExportDocument& document : plan.documents) {
        if (!written_.insert(document.descriptor.digest).second) continue;
        RETURN_IF_ERROR(WriteFile(BlobName(document.descriptor.digest), document.body));
      }
      index.push_back(IndexEntry(image, plan));
      docker.push_back(DockerEntry(image, plan));
      saved.push_back(image.name);
    }
    // At the end, so that an archive that was cut short is none.
    RETURN_IF_ERROR(WriteFile("oci-layout", kLayout));
    RETURN_IF_ERROR(WriteFile("manifest.json", MergeTags(docker).dump()));
    RETURN_IF_ERROR(WriteFile("index.json", nlohmann::json{{"schemaVersion", 2},
                                                           {"mediaType", oci::kOciIndex},
                                                           {"manifests", std::move(index)}}
                                                .dump()));
    RETURN_IF_ERROR(sink_(std::string(2 * kBlockBytes, '\0')));
    progress_.completed_bytes = progress_.total_bytes;
    progress_.done = true;
    reporter_.Report(progress_);
    return saved;
  }

 private:
  static bool HasTag(const store::NamedImage& image) {
    const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(image.name);
    return reference.ok() && !reference->tag.empty();
  }

  static nlohmann::json IndexEntry(const store::NamedImage& image, const Export& plan) {
    oci::Descriptor entry = plan.top;
    if (oci::Reference::Parse(image.name).ok()) {
      entry.annotations[oci::kContainerdNameAnnotation] = image.name;
      entry.annotations[oci::kRefNameAnnotation] = image.name;
    }
    return entry.ToJson();
  }

  // Docker knows one platform: this machine's, or else the first.
  static nlohmann::json DockerEntry(const store::NamedImage& image, const Export& plan) {
    std::vector<oci::Platform> platforms;
    for (const Variant& variant : plan.variants) platforms.push_back(variant.platform);
    const int best = oci::BestMatch(oci::Platform::Host(), platforms);
    const Variant& variant = plan.variants[best < 0 ? 0 : best];
    nlohmann::json tags = nlohmann::json::array();
    if (HasTag(image)) tags.push_back(oci::FamiliarName(image.name));
    nlohmann::json layers = nlohmann::json::array();
    for (const oci::Descriptor& layer : variant.manifest.layers) {
      layers.push_back(BlobName(layer.digest));
    }
    return {{"Config", BlobName(variant.manifest.config.digest)},
            {"RepoTags", std::move(tags)},
            {"Layers", std::move(layers)}};
  }

  // Several names of one image are one entry with several tags.
  static nlohmann::json MergeTags(const nlohmann::json& entries) {
    nlohmann::json result = nlohmann::json::array();
    for (const nlohmann::json& entry : entries) {
      const auto same =
          std::find_if(result.begin(), result.end(), [&](const nlohmann::json& other) {
            return other["Config"] == entry["Config"] && other["Layers"] == entry["Layers"];
          });
      if (same == result.end()) {
        result.push_back(entry);
      } else {
        for (const nlohmann::json& tag : entry["RepoTags"]) (*same)["RepoTags"].push_back(tag);
      }
    }
    return result;
  }

  absl::Status Pad(int64_t size_bytes) {
    const size_t rest = static_cast<size_t>(size_bytes) % kBlockBytes;
    return rest == 0 ? absl::OkStatus() : sink_(std::string(kBlockBytes - rest, '\0'));
  }

  absl::Status WriteFile(const std::string& name, absl::string_view content) {
    const auto size_bytes = static_cast<int64_t>(content.size());
    RETURN_IF_ERROR(sink_(TarHeader(name, '0', size_bytes)));
    RETURN_IF_ERROR(sink_(content));
    return Pad(size_bytes);
  }

  absl::Status WriteBlob(const oci::Descriptor& blob) {
    if (!written_.insert(blob.digest).second) {
      progress_.completed_bytes += blob.size_bytes;
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const base::Fd file, store_.OpenBlob(blob.digest));
    RETURN_IF_ERROR(sink_(TarHeader(BlobName(blob.digest), '0', blob.size_bytes)));
    oci::Sha256 hasher;
    int64_t done_bytes = 0;
    buffer_.resize(kBufferBytes);
    for (;;) {
      if (cancelled_ && cancelled_()) return absl::CancelledError("saving was cancelled");
      ASSIGN_OR_RETURN(const size_t count, base::ReadSome(file.get(), buffer_));
      if (count == 0) break;
      done_bytes += static_cast<int64_t>(count);
      if (done_bytes > blob.size_bytes) break;
      const absl::string_view data(buffer_.data(), count);
      hasher.Update(data);
      RETURN_IF_ERROR(sink_(data));
      progress_.completed_bytes += static_cast<int64_t>(count);
      reporter_.Report(progress_);
    }
    if (done_bytes != blob.size_bytes || hasher.Finish() != blob.digest) {
      return absl::DataLossError(
          absl::StrCat("blob ", blob.digest, " in the store is damaged: pull the image again"));
    }
    return Pad(blob.size_bytes);
  }

  store::ContentStore& store_;
  const ArchiveSink& sink_;
  Reporter& reporter_;
  const Cancelled& cancelled_;
  ProgressEvent progress_;
  std::set<std::string> written_;
  std::vector<char> buffer_;
};

}  // namespace

absl::StatusOr<std::vector<std::string>> Save(store::ContentStore& store,
                                              const SaveOptions& options, const ArchiveSink& sink,
                                              Reporter& reporter, const Cancelled& cancelled) {
  return Saver(store, sink, reporter, cancelled).Run(options);
}

absl::StatusOr<std::vector<std::string>> SaveFile(store::ContentStore& store,
                                                  const SaveOptions& options,
                                                  const std::string& path, Reporter& reporter,
                                                  const Cancelled& cancelled) {
  struct stat info;
  const bool is_special = ::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
  const std::string target =
      is_special ? path : absl::StrCat(path, ".", base::RandomHex(6), ".partial");
  const int flags = is_special ? O_WRONLY : O_WRONLY | O_CREAT | O_EXCL;
  ASSIGN_OR_RETURN(const base::Fd file, base::Open(target, flags, 0600));
  absl::StatusOr<std::vector<std::string>> saved = Save(
      store, options, [&](absl::string_view data) { return base::WriteAll(file.get(), data); },
      reporter, cancelled);
  if (is_special) return saved;
  if (saved.ok() && ::rename(target.c_str(), path.c_str()) != 0) {
    saved = base::ErrnoStatus(absl::StrCat("rename ", target, " to ", path));
  }
  if (!saved.ok()) base::RemoveFile(target).IgnoreError();
  return saved;
}

}  // namespace container::images
