#include "plugins/core_images/images/verify.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <map>
#include <mutex>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/paths.h"
#include "base/status.h"
#include "plugins/core_images/erofs/format.h"
#include "plugins/core_images/images/parallel.h"
#include "plugins/core_images/images/resolve.h"
#include "plugins/core_images/oci/digest.h"

namespace container::images {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kThreadLimit = 8;

// What the names of the store need.
struct Needs {
  struct Variant {
    std::string name;
    std::vector<std::string> blobs;  // configuration and layers
    std::string chain;               // "" if the configuration can't be read
    bool is_for_host = false;
  };
  std::map<std::string, std::set<std::string>> names_of;  // by digest, or "root:…"
  std::vector<Variant> variants;
};

class Collector {
 public:
  Collector(store::ContentStore& store, store::Lease& lease, Needs& needs)
      : store_(store), lease_(lease), needs_(needs) {}

  void Collect(const std::string& name, const oci::Descriptor& descriptor, int depth) {
    Need(name, descriptor.digest);
    if (depth > oci::kIndexDepthLimit) return;
    const auto text = store_.ReadBlob(descriptor, oci::kManifestLimitBytes);
    if (!text.ok()) return;
    const auto document = oci::ParseDocument(*text, descriptor.media_type);
    if (!document.ok()) return;
    if (const auto* index = std::get_if<oci::Index>(&*document)) {
      for (const oci::Descriptor& entry : index->manifests) {
        if (!entry.IsAttestation()) Collect(name, entry, depth + 1);
      }
      return;
    }
    const auto& manifest = std::get<oci::Manifest>(*document);
    Needs::Variant variant{name, {manifest.config.digest}, "", false};
    for (const oci::Descriptor& layer : manifest.layers) variant.blobs.push_back(layer.digest);
    for (const std::string& digest : variant.blobs) Need(name, digest);
    const auto config_text = store_.ReadBlob(manifest.config, oci::kConfigLimitBytes);
    const auto config = config_text.ok() ? oci::ParseConfig(*config_text) : config_text.status();
    if (config.ok()) {
      variant.chain = oci::ChainIdHex(config->diff_ids);
      variant.is_for_host =
          oci::BestMatch(oci::Platform::Host(), {config->platform.Normalized()}) >= 0;
      lease_.PinRoot(variant.chain);
      needs_.names_of[absl::StrCat("root:", variant.chain)].insert(name);
    }
    needs_.variants.push_back(std::move(variant));
  }

 private:
  void Need(const std::string& name, const std::string& digest) {
    lease_.PinBlob(digest);
    needs_.names_of[digest].insert(name);
  }

  store::ContentStore& store_;
  store::Lease& lease_;
  Needs& needs_;
};

bool Exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

class Verifier {
 public:
  Verifier(store::ContentStore& store, Reporter& reporter, const Cancelled& cancelled)
      : store_(store), reporter_(reporter), cancelled_(cancelled), lease_(store.NewLease()) {}

  absl::StatusOr<Verification> Run(const std::string& containers_folder) {
    Collector collector(store_, *lease_, needs_);
    const std::vector<store::NamedImage> images = store_.List();
    for (const store::NamedImage& image : images) {
      collector.Collect(image.name, image.descriptor, 0);
    }
    RETURN_IF_ERROR(CheckBlobs());
    CheckPresence(images);
    RETURN_IF_ERROR(CheckRoots());
    RETURN_IF_ERROR(CheckContainers(containers_folder));
    std::sort(result_.faults.begin(), result_.faults.end(), [](const Fault& a, const Fault& b) {
      return std::pair(!a.is_error, a.subject) < std::pair(!b.is_error, b.subject);
    });
    return std::move(result_);
  }

 private:
  void Add(bool is_error, const std::string& subject, const std::set<std::string>& images,
           const std::string& message) {
    const std::lock_guard lock(mutex_);
    result_.faults.push_back({is_error, subject, {images.begin(), images.end()}, message});
  }
  std::set<std::string> NamesOf(const std::string& key) const {
    const auto found = needs_.names_of.find(key);
    return found == needs_.names_of.end() ? std::set<std::string>() : found->second;
  }
  static std::string PullAgain(const std::set<std::string>& names) {
    if (names.empty()) return "; no image needs it";
    return absl::StrCat("; pull it again: ", absl::StrJoin(names, ", "));
  }

  absl::Status CheckBlobs() {
    ASSIGN_OR_RETURN(const std::vector<std::string> digests, store_.Blobs());
    ProgressEvent event;
    event.task_id = "verify";
    event.description = "Checking blobs";
    std::vector<int64_t> sizes;
    for (const std::string& digest : digests) {
      struct stat info = {};
      ::stat(store_.BlobPath(digest).c_str(), &info);
      sizes.push_back(info.st_size);
      event.total_bytes += info.st_size;
    }
    const auto check = [&](size_t i) -> absl::Status {
      if (cancelled_ && cancelled_()) return absl::CancelledError("cancelled");
      const absl::Status status = store_.Verify(digests[i]);
      const std::set<std::string> names = NamesOf(digests[i]);
      if (absl::IsDataLoss(status)) {
        Add(!names.empty(), digests[i], names,
            absl::StrCat("blob ", digests[i], " was damaged and has been set aside",
                         PullAgain(names)));
      } else if (!status.ok() && !absl::IsNotFound(status)) {
        Add(true, digests[i], names,
            absl::StrCat("blob ", digests[i], " can't be read (", status.message(), ")",
                         PullAgain(names)));
      }
      const std::lock_guard lock(mutex_);
      if (!absl::IsNotFound(status)) {
        ++result_.blobs;
        result_.blob_bytes += sizes[i];
      }
      if (absl::IsDataLoss(status)) damaged_.insert(digests[i]);
      event.completed_bytes += sizes[i];
      event.done = event.completed_bytes == event.total_bytes;
      reporter_.Report(event);
      return absl::OkStatus();
    };
    const int threads =
        static_cast<int>(std::clamp(std::thread::hardware_concurrency(), 1u, kThreadLimit));
    return RunParallel(digests.size(), threads, check, [] {});
  }

  // What the names need and isn't there, but for what has just been set aside.
  void CheckPresence(const std::vector<store::NamedImage>& images) {
    std::set<std::string> complete;
    for (const Needs::Variant& variant : needs_.variants) {
      if (std::all_of(variant.blobs.begin(), variant.blobs.end(),
                      [&](const std::string& digest) { return Exists(store_.BlobPath(digest)); })) {
        complete.insert(variant.name);
      }
    }
    for (const store::NamedImage& image : images) {
      const auto now = store_.Find(image.name);
      if (!now.has_value() || !(now->descriptor == image.descriptor)) continue;
      const std::string& digest = image.descriptor.digest;
      if (!damaged_.contains(digest) && !Exists(store_.BlobPath(digest))) {
        Add(true, digest, {image.name},
            absl::StrCat("the manifest ", digest, " is missing", PullAgain({image.name})));
      }
      if (complete.contains(image.name)) continue;
      bool has_variants = false;
      for (const Needs::Variant& variant : needs_.variants) {
        if (variant.name != image.name) continue;
        has_variants = true;
        for (const std::string& blob : variant.blobs) {
          if (damaged_.contains(blob) || Exists(store_.BlobPath(blob))) continue;
          Add(true, blob, {image.name},
              absl::StrCat("blob ", blob, " is missing", PullAgain({image.name})));
        }
      }
      if (!has_variants && damaged_.empty() && Exists(store_.BlobPath(digest))) {
        Add(true, digest, {image.name},
            absl::StrCat("no variant of the image is here", PullAgain({image.name})));
      }
    }
  }

  absl::Status CheckRoots() {
    std::set<std::string> present;
    ASSIGN_OR_RETURN(const std::vector<std::string> chains, store_.Roots());
    for (const std::string& chain : chains) {
      const std::set<std::string> names = NamesOf(absl::StrCat("root:", chain));
      const absl::Status status = CheckRootImage(store_.RootPath(chain));
      if (absl::IsNotFound(status)) continue;  // deleted meanwhile
      ++result_.roots;
      present.insert(chain);
      if (status.ok()) continue;
      RETURN_IF_ERROR(store_.SetRootAside(chain, status.message()));
      Add(true, absl::StrCat(chain, ".erofs"), names,
          absl::StrCat("the root file system ", chain, " was damaged (", status.message(),
                       ") and has been set aside; ",
                       names.empty() ? std::string("no image needs it")
                                     : absl::StrCat("the next run or pull makes it anew: ",
                                                    absl::StrJoin(names, ", "))));
    }
    std::set<std::string> reported;
    for (const Needs::Variant& variant : needs_.variants) {
      if (!variant.is_for_host || variant.chain.empty() || present.contains(variant.chain))
        continue;
      if (!reported.insert(variant.chain).second || !store_.Find(variant.name)) continue;
      Add(false, absl::StrCat(variant.chain, ".erofs"), {variant.name},
          absl::StrCat("the root file system of ", variant.name,
                       " is not there; the next run or pull makes it"));
    }
    return absl::OkStatus();
  }

  absl::Status CheckContainers(const std::string& folder) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(folder, error)) {
      const base::Bundle bundle{entry.path()};
      if (!Exists(bundle.Configuration())) continue;  // being made or deleted
      const absl::Status status = CheckRootImage(bundle.RootFilesystem());
      if (!status.ok() && !Exists(bundle.Configuration())) continue;
      ++result_.containers;
      if (status.ok()) continue;
      const std::string id = entry.path().filename();
      Add(true, id, {},
          absl::StrCat("container ", id, "'s root file system ",
                       absl::IsNotFound(status)
                           ? std::string("is missing")
                           : absl::StrCat("is damaged (", status.message(), ")"),
                       "; delete the container, and create it again"));
    }
    if (error && error != std::errc::no_such_file_or_directory) {
      return base::ErrnoStatus(error.value(), absl::StrCat("list ", folder));
    }
    return absl::OkStatus();
  }

  store::ContentStore& store_;
  Reporter& reporter_;
  const Cancelled& cancelled_;
  const std::unique_ptr<store::Lease> lease_;
  Needs needs_;
  std::mutex mutex_;  // guards what follows, while blobs are hashed
  Verification result_;
  std::set<std::string> damaged_;
};

}  // namespace

absl::StatusOr<Verification> VerifyStore(store::ContentStore& store,
                                         const std::string& containers_folder, Reporter& reporter,
                                         const Cancelled& cancelled) {
  return Verifier(store, reporter, cancelled).Run(containers_folder);
}

absl::Status CheckRootImage(const std::string& path) {
  ASSIGN_OR_RETURN(const base::Fd fd, base::Open(path, O_RDONLY));
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return base::ErrnoStatus(path);
  std::string head(erofs::kBlockBytes, '\0');
  const ssize_t count = ::pread(fd.get(), head.data(), head.size(), 0);
  if (count < 0) return absl::DataLossError("it can't be read");
  if (static_cast<size_t>(count) < head.size()) return absl::DataLossError("it is too short");
  erofs::SuperBlock super;
  std::memcpy(static_cast<void*>(&super), head.data() + erofs::kSuperOffset, sizeof(super));
  if (super.magic != erofs::kSuperMagic) return absl::DataLossError("it has no superblock");
  const uint32_t expected = std::exchange(super.checksum, 0);
  std::memcpy(head.data() + erofs::kSuperOffset, &super, sizeof(super));
  if (erofs::Crc32c(std::string_view(head).substr(erofs::kSuperOffset)) != expected) {
    return absl::DataLossError("its superblock's checksum is wrong");
  }
  if (info.st_size < static_cast<int64_t>(super.blocks * erofs::kBlockBytes)) {
    return absl::DataLossError(absl::StrCat("it has ", info.st_size, " bytes instead of ",
                                            super.blocks * erofs::kBlockBytes));
  }
  return absl::OkStatus();
}

}  // namespace container::images
