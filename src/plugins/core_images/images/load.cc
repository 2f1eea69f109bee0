#include "plugins/core_images/images/load.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <atomic>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "plugins/core_images/archive/decompress.h"
#include "plugins/core_images/archive/source.h"
#include "plugins/core_images/archive/tar_reader.h"
#include "plugins/core_images/images/resolve.h"
#include "plugins/core_images/images/root_builder.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/reference.h"

namespace container::images {
namespace {

constexpr size_t kSmallFileLimitBytes = 16 << 20;  // index.json and manifest.json
constexpr size_t kFileLimit = 1 << 20;             // files in an archive
constexpr int kLinkLimit = 8;
constexpr uint64_t kInflateFactorLimit = 1100;
constexpr uint64_t kInflateFreeBytes = uint64_t{1} << 30;

// A file of an archive that is in the store now.
struct StoredFile {
  std::string digest;
  int64_t size_bytes = 0;
  std::string head;  // the first bytes, which tell how it is compressed
};

// The media type of a layer that starts with `head`.
std::string LayerType(absl::string_view head) {
  if (absl::StartsWith(head, "\x1f\x8b")) return oci::kOciLayerGzip;
  if (absl::StartsWith(head, "\x28\xb5\x2f\xfd")) return oci::kOciLayerZstd;
  return oci::kOciLayerTar;
}

std::string CleanName(absl::string_view name) {
  std::string clean = std::filesystem::path(std::string(name)).lexically_normal();
  while (absl::StartsWith(clean, "/")) clean.erase(0, 1);
  return clean == "." ? "" : clean;
}

class WatchedSource : public archive::Source {
 public:
  WatchedSource(int fd, const Cancelled& cancelled) : source_(fd), cancelled_(cancelled) {}
  absl::StatusOr<size_t> Read(std::span<char> buffer) override {
    if (cancelled_ && cancelled_()) return absl::CancelledError("loading was cancelled");
    absl::StatusOr<size_t> count = source_.Read(buffer);
    if (count.ok()) read_bytes_ += static_cast<int64_t>(*count);
    return count;
  }
  int64_t read_bytes() const { return read_bytes_; }

 private:
  archive::FdSource source_;
  const Cancelled& cancelled_;
  int64_t read_bytes_ = 0;
};

class Loader {
 public:
  Loader(store::ContentStore& store, Reporter& reporter, const Cancelled& cancelled)
      : store_(store), reporter_(reporter), cancelled_(cancelled), lease_(store.NewLease()) {}

  absl::StatusOr<std::vector<store::NamedImage>> Run(const std::string& path) {
    struct stat info;
    if (::stat(path.c_str(), &info) != 0) return base::ErrnoStatus(path);
    if (S_ISDIR(info.st_mode)) {
      RETURN_IF_ERROR(OpenFolder(path));
    } else {
      RETURN_IF_ERROR(ReadArchive(path, info.st_size), "read the archive");
    }
    std::vector<store::NamedImage> images;
    // Newer docker writes both forms into one archive; the OCI one says more.
    if (small_files_.contains("index.json")) {
      ASSIGN_OR_RETURN(images, ReadOciIndex(small_files_["index.json"]), "index.json");
    } else if (small_files_.contains("manifest.json")) {
      ASSIGN_OR_RETURN(images, ReadDockerManifest(small_files_["manifest.json"]), "manifest.json");
    } else {
      return absl::InvalidArgumentError(
          "it is neither an OCI image (no index.json) nor a docker archive (no manifest.json), or "
          "it is cut short");
    }
    if (images.empty()) return absl::InvalidArgumentError("there is no image in it");
    for (const store::NamedImage& image : images) {
      RETURN_IF_ERROR(CompleteImage(image), oci::FamiliarName(image.name));
    }
    RETURN_IF_ERROR(store_.Put(images), "name the images");
    return images;
  }

  /// What came into the store on the way.
  const std::set<std::string>& added() const { return added_; }

 private:
  // Archives.

  absl::Status ReadArchive(const std::string& path, int64_t size_bytes) {
    ASSIGN_OR_RETURN(const base::Fd fd, base::Open(path, O_RDONLY));
    WatchedSource file(fd.get(), cancelled_);
    archive::DecompressOptions options;
    options.compute_digest = false;
    options.output_limit_bytes =
        kInflateFreeBytes + static_cast<uint64_t>(size_bytes) * kInflateFactorLimit;
    ASSIGN_OR_RETURN(const auto tar, archive::Decompressor::Create(file, options));
    archive::TarReader reader(*tar);
    ProgressEvent event;
    event.task_id = "load";
    event.description = "Reading archive";
    event.total_bytes = size_bytes;
    for (;;) {
      absl::StatusOr<const archive::TarEntry*> next = reader.Next();
      if (!next.ok() && file_count_ == 0 && links_.empty()) {
        return base::Annotate(next.status(), "this is no tar archive, or it is damaged");
      }
      RETURN_IF_ERROR(next.status());
      if (*next == nullptr) break;
      RETURN_IF_ERROR(ReadEntry(reader, **next, [&] {
        event.completed_bytes = file.read_bytes();
        reporter_.Report(event);
      }));
    }
    // A compressed archive's own checksum comes last.
    RETURN_IF_ERROR(reader.Drain());
    event.completed_bytes = size_bytes;
    event.done = true;
    reporter_.Report(event);
    return absl::OkStatus();
  }

  absl::Status ReadEntry(archive::TarReader& reader, const archive::TarEntry& entry,
                         const std::function<void()>& report) {
    const std::string name = CleanName(entry.name);
    if (entry.type == archive::EntryType::kHardLink) {
      links_[name] = CleanName(entry.link_target);
    } else if (entry.type == archive::EntryType::kSymlink) {
      links_[name] =
          CleanName((std::filesystem::path(name).parent_path() / entry.link_target).string());
    }
    if (entry.type != archive::EntryType::kFile) return absl::OkStatus();
    if (++file_count_ > kFileLimit) {
      return absl::ResourceExhaustedError("there are too many files in it");
    }
    if (name == "index.json" || name == "manifest.json") {
      ASSIGN_OR_RETURN(small_files_[name], ReadSmall(reader, entry));
      return absl::OkStatus();
    }
    // "repositories" is what docker wrote before manifest.json; nobody needs it.
    if (name == "oci-layout" || name == "repositories") return absl::OkStatus();

    ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> blob, store_.NewBlob());
    StoredFile stored;
    stored.size_bytes = static_cast<int64_t>(entry.size_bytes);
    for (;;) {
      ASSIGN_OR_RETURN(const archive::TarData data, reader.ReadData());
      // The bytes between the parts of a sparse file are zeros; no image tool writes such.
      if (!data.bytes.empty() && data.offset != static_cast<uint64_t>(blob->size_bytes())) {
        return absl::InvalidArgumentError(absl::StrCat("'", name, "' is a sparse file"));
      }
      if (data.bytes.empty()) break;
      const absl::string_view bytes(data.bytes.data(), data.bytes.size());
      if (stored.head.size() < 8) stored.head += std::string(bytes.substr(0, 8));
      RETURN_IF_ERROR(blob->Append(bytes));
      report();
    }
    absl::string_view expected = name;
    std::string digest;
    if (absl::ConsumePrefix(&expected, "blobs/sha256/")) {
      digest = absl::StrCat(oci::kSha256Prefix, expected);
      if (!oci::CheckDigest(digest).ok()) digest.clear();
    }
    ASSIGN_OR_RETURN(stored.digest, blob->Commit(digest, stored.size_bytes, *lease_),
                     absl::StrCat("'", name, "'"));
    added_.insert(stored.digest);
    files_[name] = std::move(stored);
    return absl::OkStatus();
  }

  static absl::StatusOr<std::string> ReadSmall(archive::TarReader& reader,
                                               const archive::TarEntry& entry) {
    if (entry.size_bytes > kSmallFileLimitBytes) {
      return absl::ResourceExhaustedError(absl::StrCat("'", entry.name, "' is too large"));
    }
    std::string text(entry.size_bytes, '\0');
    for (;;) {
      ASSIGN_OR_RETURN(const archive::TarData data, reader.ReadData());
      if (data.bytes.empty()) return text;
      if (data.offset + data.bytes.size() > text.size()) {
        return absl::DataLossError(absl::StrCat("'", entry.name, "' is longer than it says"));
      }
      std::copy(data.bytes.begin(), data.bytes.end(),
                text.begin() + static_cast<ptrdiff_t>(data.offset));
    }
  }

  absl::StatusOr<StoredFile> FindFile(const std::string& name) const {
    std::string at = CleanName(name);
    for (int hop = 0; hop < kLinkLimit; ++hop) {
      if (const auto file = files_.find(at); file != files_.end()) return file->second;
      const auto link = links_.find(at);
      if (link == links_.end()) break;
      at = link->second;
    }
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' is missing in the archive"));
  }

  // Folders.

  absl::Status OpenFolder(const std::string& path) {
    folder_ = path;
    absl::StatusOr<std::string> index = base::ReadFile(path + "/index.json", kSmallFileLimitBytes);
    if (absl::IsNotFound(index.status())) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is no OCI image layout: it has no index.json"));
    }
    RETURN_IF_ERROR(index.status());
    small_files_["index.json"] = *std::move(index);
    return absl::OkStatus();
  }

  // Brings one blob of the folder into the store; NOT_FOUND if it has none.
  absl::Status ImportBlob(const oci::Descriptor& descriptor) {
    const std::string path =
        absl::StrCat(folder_, "/blobs/sha256/", oci::DigestHex(descriptor.digest));
    lease_->PinBlob(descriptor.digest);
    if (added_.contains(descriptor.digest)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const base::Fd fd, base::Open(path, O_RDONLY));
    ProgressEvent event;
    event.task_id = oci::ShortDigest(descriptor.digest);
    event.description = "Reading blob";
    event.total_bytes = descriptor.size_bytes;
    WatchedSource file(fd.get(), cancelled_);
    ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> blob, store_.NewBlob());
    std::vector<char> buffer(256 << 10);
    for (;;) {
      ASSIGN_OR_RETURN(const size_t count, file.Read(buffer));
      if (count == 0) break;
      RETURN_IF_ERROR(blob->Append(absl::string_view(buffer.data(), count)));
      event.completed_bytes = blob->size_bytes();
      reporter_.Report(event);
    }
    RETURN_IF_ERROR(blob->Commit(descriptor.digest, descriptor.size_bytes, *lease_).status());
    added_.insert(descriptor.digest);
    event.done = true;
    reporter_.Report(event);
    return absl::OkStatus();
  }

  // Both.

  // OK when the blob is in the store, verified on its way there; NOT_FOUND if it is not part of
  // what is loaded.
  absl::Status Provide(const oci::Descriptor& descriptor) {
    if (!folder_.empty()) return ImportBlob(descriptor);
    if (!added_.contains(descriptor.digest)) {
      return absl::NotFoundError(
          absl::StrCat("blob ", descriptor.digest, " is missing in the archive"));
    }
    ASSIGN_OR_RETURN(const bool present, store_.Has(descriptor.digest, descriptor.size_bytes));
    if (!present) {
      return absl::DataLossError(absl::StrCat("blob ", descriptor.digest, " does not have ",
                                              descriptor.size_bytes, " bytes"));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<store::NamedImage>> ReadOciIndex(const std::string& text) {
    ASSIGN_OR_RETURN(const oci::Document document, oci::ParseDocument(text, oci::kOciIndex));
    const auto* index = std::get_if<oci::Index>(&document);
    if (index == nullptr) return absl::InvalidArgumentError("this is no index");
    std::vector<store::NamedImage> images;
    for (const oci::Descriptor& entry : index->manifests) {
      if (entry.IsAttestation()) continue;
      if (!oci::IsIndexType(entry.media_type) && !oci::IsManifestType(entry.media_type)) continue;
      store::NamedImage image{OciName(entry), entry};
      image.descriptor.annotations.clear();
      images.push_back(std::move(image));
    }
    return images;
  }

  static std::string OciName(const oci::Descriptor& entry) {
    for (const char* key : {oci::kContainerdNameAnnotation, oci::kRefNameAnnotation}) {
      const auto found = entry.annotations.find(key);
      if (found == entry.annotations.end()) continue;
      // A bare word may be a tag as well as a name.
      if (found->second.find_first_of("/:") == std::string::npos) continue;
      const absl::StatusOr<oci::Reference> reference = oci::Reference::Parse(found->second);
      if (reference.ok()) return reference->Normalized();
    }
    return absl::StrCat("untagged@", entry.digest);
  }

  absl::StatusOr<std::vector<store::NamedImage>> ReadDockerManifest(const std::string& text) {
    ASSIGN_OR_RETURN(const nlohmann::json document, oci::ParseJson(text, kSmallFileLimitBytes));
    if (!document.is_array()) return absl::InvalidArgumentError("this is no list");
    std::vector<store::NamedImage> images;
    for (const nlohmann::json& item : document) {
      if (!item.is_object() || !item.contains("Config") || !item["Config"].is_string() ||
          !item.contains("Layers") || !item["Layers"].is_array()) {
        return absl::InvalidArgumentError("an image has no Config or no Layers");
      }
      ASSIGN_OR_RETURN(const oci::Descriptor descriptor, MakeManifest(item));
      const auto tags = item.find("RepoTags");
      const size_t before = images.size();
      if (tags != item.end() && tags->is_array()) {
        for (const nlohmann::json& tag : *tags) {
          if (!tag.is_string()) return absl::InvalidArgumentError("a RepoTag is not a string");
          ASSIGN_OR_RETURN(const oci::Reference reference,
                           oci::Reference::Parse(tag.get_ref<const std::string&>()));
          images.push_back({reference.Normalized(), descriptor});
        }
      }
      if (images.size() == before) {
        images.push_back({absl::StrCat("untagged@", descriptor.digest), descriptor});
      }
    }
    return images;
  }

  // Writes the OCI manifest that says what an entry of manifest.json says.
  absl::StatusOr<oci::Descriptor> MakeManifest(const nlohmann::json& item) {
    ASSIGN_OR_RETURN(const StoredFile config, FindFile(item["Config"].get<std::string>()));
    if (item["Layers"].size() > oci::kLayerLimit) {
      return absl::ResourceExhaustedError("the image has too many layers");
    }
    oci::Descriptor descriptor{oci::kOciConfig, config.digest, config.size_bytes};
    ASSIGN_OR_RETURN(const std::string config_text,
                     store_.ReadBlob(descriptor, oci::kConfigLimitBytes));
    ASSIGN_OR_RETURN(const oci::ImageConfig parsed, oci::ParseConfig(config_text),
                     "read the image's configuration");
    nlohmann::json layers = nlohmann::json::array();
    for (const nlohmann::json& layer : item["Layers"]) {
      if (!layer.is_string()) return absl::InvalidArgumentError("a layer is not a string");
      ASSIGN_OR_RETURN(const StoredFile file, FindFile(layer.get<std::string>()));
      const std::string type = LayerType(file.head);
      const size_t index = layers.size();
      if (type == oci::kOciLayerTar && index < parsed.diff_ids.size() &&
          parsed.diff_ids[index] != file.digest) {
        return absl::DataLossError(absl::StrCat("layer '", layer.get<std::string>(),
                                                "' is damaged: it has digest ", file.digest,
                                                " instead of ", parsed.diff_ids[index]));
      }
      layers.push_back(oci::Descriptor{type, file.digest, file.size_bytes}.ToJson());
    }
    const nlohmann::json manifest = {{"schemaVersion", 2},
                                     {"mediaType", oci::kOciManifest},
                                     {"config", descriptor.ToJson()},
                                     {"layers", std::move(layers)}};
    const std::string text = manifest.dump();
    ASSIGN_OR_RETURN(const std::string digest, store_.PutBlob(text, *lease_));
    added_.insert(digest);
    return oci::Descriptor{oci::kOciManifest, digest, static_cast<int64_t>(text.size())};
  }

  // Checks that the image is here with all that it needs, and readies its root for this machine.
  absl::Status CompleteImage(const store::NamedImage& image) {
    int complete = 0;
    RETURN_IF_ERROR(ProvideTree(image.descriptor, 0, complete));
    if (complete == 0) {
      return absl::InvalidArgumentError("the image is here for no platform at all");
    }
    const DocumentSource source = FromStore(store_);
    const absl::StatusOr<Variant> variant =
        ResolveVariant(source, image.descriptor, oci::Platform::Host());
    // An image for another kind of machine may be kept, and run under emulation.
    if (absl::IsFailedPrecondition(variant.status()) || absl::IsNotFound(variant.status())) {
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(variant.status());
    return BuildRoot(
               store_, *lease_, *variant, [](size_t) { return absl::OkStatus(); }, reporter_,
               cancelled_)
        .status();
  }

  // Provides what `descriptor` refers to. Variants that are left out of the archive are no error,
  // but a manifest without its layers is one.
  absl::Status ProvideTree(const oci::Descriptor& descriptor, int depth, int& complete) {
    if (depth > oci::kIndexDepthLimit) {
      return absl::ResourceExhaustedError("the image's indexes are nested too deeply");
    }
    const absl::Status provided = Provide(descriptor);
    if (absl::IsNotFound(provided) && depth > 0) return absl::OkStatus();
    if (absl::IsNotFound(provided)) return absl::InvalidArgumentError(provided.message());
    RETURN_IF_ERROR(provided);
    ASSIGN_OR_RETURN(const std::string text, store_.ReadBlob(descriptor, oci::kManifestLimitBytes));
    ASSIGN_OR_RETURN(const oci::Document document, oci::ParseDocument(text, descriptor.media_type),
                     absl::StrCat("read manifest ", oci::ShortDigest(descriptor.digest)));
    if (const auto* index = std::get_if<oci::Index>(&document)) {
      for (const oci::Descriptor& entry : index->manifests) {
        if (entry.IsAttestation()) continue;
        if (!oci::IsIndexType(entry.media_type) && !oci::IsManifestType(entry.media_type)) continue;
        RETURN_IF_ERROR(ProvideTree(entry, depth + 1, complete));
      }
      return absl::OkStatus();
    }
    const auto& manifest = std::get<oci::Manifest>(document);
    std::vector<oci::Descriptor> needed = manifest.layers;
    needed.push_back(manifest.config);
    for (const oci::Descriptor& blob : needed) {
      absl::Status status = Provide(blob);
      if (absl::IsNotFound(status)) status = absl::InvalidArgumentError(status.message());
      RETURN_IF_ERROR(status);
    }
    ++complete;
    return absl::OkStatus();
  }

  store::ContentStore& store_;
  Reporter& reporter_;
  const Cancelled& cancelled_;
  std::unique_ptr<store::Lease> lease_;
  std::string folder_;                              // of an OCI layout, or empty
  std::map<std::string, std::string> small_files_;  // by name
  std::map<std::string, StoredFile> files_;
  std::map<std::string, std::string> links_;
  std::set<std::string> added_;
  size_t file_count_ = 0;
};

}  // namespace

absl::StatusOr<std::vector<store::NamedImage>> Load(store::ContentStore& store,
                                                    const std::string& path, Reporter& reporter,
                                                    const Cancelled& cancelled) {
  std::set<std::string> added;
  absl::StatusOr<std::vector<store::NamedImage>> images;
  {
    Loader loader(store, reporter, cancelled);
    images = loader.Run(path);
    added = loader.added();
  }
  // The lease is gone: what nothing names now is not needed. A failure to tidy up is not one to
  // load; the next deletion tries again.
  store.Sweep(&added).IgnoreError();
  if (!images.ok()) return base::Annotate(images.status(), absl::StrCat("load ", path));
  return images;
}

}  // namespace container::images
