#include "plugins/core_images/images/root_builder.h"

#include <unistd.h>

#include <atomic>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "plugins/core_images/archive/decompress.h"
#include "plugins/core_images/archive/source.h"
#include "plugins/core_images/erofs/flatten.h"
#include "plugins/core_images/oci/digest.h"

namespace container::images {
namespace {

// No gzip stream inflates by more than 1032; what zstd may claim beyond that is a bomb.
constexpr uint64_t kInflateFactorLimit = 1100;
constexpr uint64_t kInflateFreeBytes = uint64_t{1} << 30;

// Counts what was read, for the progress, and ends when the work is no longer wanted.
class WatchedSource : public archive::Source {
 public:
  WatchedSource(archive::Source& source, const Cancelled& cancelled)
      : source_(source), cancelled_(cancelled) {}

  absl::StatusOr<size_t> Read(std::span<char> buffer) override {
    if (cancelled_ && cancelled_()) return absl::CancelledError("unpacking was cancelled");
    absl::StatusOr<size_t> count = source_.Read(buffer);
    if (count.ok()) read_bytes_ += *count;
    return count;
  }
  uint64_t read_bytes() const { return read_bytes_; }

 private:
  archive::Source& source_;
  const Cancelled& cancelled_;
  std::atomic<uint64_t> read_bytes_ = 0;
};

absl::Status AddLayer(erofs::Flattener& flattener, archive::Source& source,
                      const oci::Descriptor& layer, const std::string& diff_id,
                      const std::function<void(uint64_t)>& report, const Cancelled& cancelled) {
  WatchedSource blob(source, cancelled);
  archive::DecompressOptions options;
  options.output_limit_bytes =
      kInflateFreeBytes + static_cast<uint64_t>(layer.size_bytes) * kInflateFactorLimit;
  ASSIGN_OR_RETURN(const std::unique_ptr<archive::Decompressor> tar,
                   archive::Decompressor::Create(blob, options));
  {
    archive::ReadAhead ahead(*tar);
    RETURN_IF_ERROR(flattener.AddLayer(ahead, [&](uint64_t) { report(blob.read_bytes()); }));
  }
  ASSIGN_OR_RETURN(const std::string digest, tar->Digest());
  if (digest != diff_id) {
    return absl::DataLossError(absl::StrCat("its content has digest ", digest,
                                            ", the image's configuration says ", diff_id));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> BuildRoot(store::ContentStore& store, store::Lease& lease,
                                      const Variant& variant, const LayerReady& layer_ready,
                                      Reporter& reporter, const Cancelled& cancelled,
                                      const LayerArriving& layer_arriving) {
  const std::string chain = oci::ChainIdHex(variant.config.diff_ids);
  const std::string path = store.RootPath(chain);
  lease.PinRoot(chain);
  ASSIGN_OR_RETURN(const auto lock, store.Lock(absl::StrCat("root:", chain), cancelled));
  if (::access(path.c_str(), F_OK) == 0) return path;

  ProgressEvent event;
  event.task_id = absl::StrCat("unpack-", chain.substr(0, 12));
  event.description = absl::StrCat("Unpacking image for ", variant.platform.ToString());
  for (const oci::Descriptor& layer : variant.manifest.layers) {
    event.total_bytes += layer.size_bytes;
  }
  const std::string temporary = store.TemporaryRootPath();
  absl::StatusOr<std::unique_ptr<erofs::Flattener>> flattener = erofs::Flattener::Create(temporary);
  RETURN_IF_ERROR(flattener.status(), "make the root file system");
  for (size_t i = 0; i < variant.manifest.layers.size(); ++i) {
    const oci::Descriptor& layer = variant.manifest.layers[i];
    std::unique_ptr<archive::Source> source;
    if (layer_arriving) {
      ASSIGN_OR_RETURN(source, layer_arriving(i));
    }
    base::Fd fd;
    if (source == nullptr) {
      RETURN_IF_ERROR(layer_ready(i));
      ASSIGN_OR_RETURN(fd, store.OpenBlob(layer.digest));
      source = std::make_unique<archive::FdSource>(fd.get());
    }
    const int64_t before_bytes = event.completed_bytes;
    const auto report = [&](uint64_t read_bytes) {
      event.completed_bytes = before_bytes + static_cast<int64_t>(read_bytes);
      reporter.Report(event);
    };
    report(0);
    absl::Status added =
        AddLayer(**flattener, *source, layer, variant.config.diff_ids[i], report, cancelled);
    // The image is wrong, or our copy of the layer has gone bad: then the next pull gets a new one.
    if (absl::IsDataLoss(added) || absl::IsInvalidArgument(added)) {
      if (absl::Status verified = store.Verify(layer.digest); !verified.ok()) added = verified;
    }
    RETURN_IF_ERROR(added, absl::StrCat("unpack layer ", oci::ShortDigest(layer.digest), " (",
                                        i + 1, " of ", variant.manifest.layers.size(), ")"));
    event.completed_bytes = before_bytes + layer.size_bytes;
  }
  RETURN_IF_ERROR((*flattener)->Finish(std::string_view(chain)).status(),
                  "complete the root file system");
  if (absl::Status status = store.CommitRoot(temporary, chain); !status.ok()) {
    ::unlink(temporary.c_str());
    return status;
  }
  event.done = true;
  reporter.Report(event);
  return path;
}

}  // namespace container::images
