#include "plugins/core_images/images/pull.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/status.h"
#include "plugins/core_images/archive/source.h"
#include "plugins/core_images/images/resolve.h"
#include "plugins/core_images/images/root_builder.h"
#include "plugins/core_images/oci/digest.h"

namespace container::images {
namespace {

// A layer on its way: what has come of it can be read while the rest is still under way. What is
// read is unverified; the root file system built from it stands only if the layers' uncompressed
// content has the right digests.
class ArrivingLayer {
 public:
  /// Returns a source of the bytes, or null if the layer is to be read from the store: it was there
  /// already, or its download has failed. CANCELLED.
  absl::StatusOr<std::unique_ptr<archive::Source>> Open(const Cancelled& stopped) {
    std::unique_lock lock(mutex_);
    while (state_ == State::kWaiting) {
      if (stopped()) return absl::CancelledError("unpacking was cancelled");
      changed_.wait_for(lock, kPoll);
    }
    if (state_ != State::kArriving && state_ != State::kComplete) return nullptr;
    return std::make_unique<Reader>(*this, stopped);
  }

  void Begin(base::Fd fd, int64_t size_bytes) {
    const std::lock_guard lock(mutex_);
    // A second attempt isn't what the reader has read of the first.
    if (state_ != State::kWaiting) return;
    fd_ = std::move(fd);
    size_bytes_ = size_bytes;
    state_ = State::kArriving;
    changed_.notify_all();
  }
  void Grow(int64_t size_bytes) {
    const std::lock_guard lock(mutex_);
    if (state_ != State::kArriving) return;
    size_bytes_ = size_bytes;
    changed_.notify_all();
  }
  /// All has come.
  void Complete() { Leave(State::kComplete); }
  /// No more of this attempt will come, or nothing ever.
  void Break() { Leave(State::kBroken); }

 private:
  enum class State { kWaiting, kArriving, kComplete, kBroken };
  static constexpr auto kPoll = std::chrono::milliseconds(50);

  class Reader : public archive::Source {
   public:
    Reader(ArrivingLayer& layer, const Cancelled& stopped) : layer_(layer), stopped_(stopped) {}
    absl::StatusOr<size_t> Read(std::span<char> buffer) override {
      int64_t there_bytes = 0;
      {
        std::unique_lock lock(layer_.mutex_);
        while (layer_.size_bytes_ == position_ && layer_.state_ == State::kArriving) {
          if (stopped_()) return absl::CancelledError("unpacking was cancelled");
          layer_.changed_.wait_for(lock, kPoll);
        }
        if (layer_.state_ == State::kBroken) {
          if (stopped_()) return absl::CancelledError("unpacking was cancelled");
          return absl::UnavailableError("the download did not go on");
        }
        there_bytes = layer_.size_bytes_ - position_;
      }
      if (there_bytes == 0) return size_t{0};
      const size_t wanted = std::min<uint64_t>(buffer.size(), static_cast<uint64_t>(there_bytes));
      const ssize_t count = ::pread(layer_.fd_.get(), buffer.data(), wanted, position_);
      if (count < 0) return base::ErrnoStatus("read a layer");
      if (count == 0) return absl::UnavailableError("the layer was cut off");
      position_ += count;
      return static_cast<size_t>(count);
    }

   private:
    ArrivingLayer& layer_;
    const Cancelled& stopped_;
    int64_t position_ = 0;
  };

  void Leave(State state) {
    const std::lock_guard lock(mutex_);
    if (state_ == State::kWaiting) state = State::kBroken;
    if (state_ == State::kWaiting || state_ == State::kArriving) state_ = state;
    changed_.notify_all();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::kWaiting;
  base::Fd fd_;
  int64_t size_bytes_ = 0;
};

// Fetches one blob unless the store has it, going on from where an earlier pull was interrupted.
absl::Status FetchBlob(store::ContentStore& store, store::Lease& lease,
                       oci::RegistryClient& registry, const oci::Descriptor& descriptor,
                       ArrivingLayer& arriving, const std::function<void(int64_t)>& report,
                       const Cancelled& cancelled) {
  // Whatever ends this, nobody waits for more.
  const absl::Cleanup end = [&arriving] { arriving.Break(); };
  lease.PinBlob(descriptor.digest);
  ASSIGN_OR_RETURN(const auto lock, store.Lock(descriptor.digest, cancelled));
  ASSIGN_OR_RETURN(const bool present, store.Has(descriptor.digest, descriptor.size_bytes));
  if (present) return absl::OkStatus();
  for (;;) {
    ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> blob,
                     store.ResumeBlob(descriptor.digest, descriptor.size_bytes));
    const bool is_resumed = blob->size_bytes() > 0;
    if (absl::StatusOr<base::Fd> fd = blob->OpenForReading(); fd.ok()) {
      arriving.Begin(*std::move(fd), blob->size_bytes());
    }
    absl::Status status = registry.GetBlob(descriptor, blob->size_bytes(),
                                           [&](absl::string_view data) -> absl::Status {
                                             const absl::Status written = blob->Append(data);
                                             if (!written.ok()) {
                                               // What is staged must not be what keeps the disk
                                               // full.
                                               blob->Discard();
                                               return written;
                                             }
                                             arriving.Grow(blob->size_bytes());
                                             report(blob->size_bytes());
                                             return absl::OkStatus();
                                           });
    if (status.ok()) {
      if (blob->size_bytes() == descriptor.size_bytes) arriving.Complete();
      status = blob->Commit(descriptor.digest, descriptor.size_bytes, lease).status();
    }
    if (!absl::IsDataLoss(status)) return status;
    arriving.Break();
    blob->Discard();
    // The fault may lie in what was here before, or in a mirror.
    const bool had_mirrors = registry.LeaveMirrors();
    if (!is_resumed && !had_mirrors) return status;
  }
}

// Downloads layers in threads of its own, in order, and lets others wait for each.
class LayerDownloads {
 public:
  using Fetch = std::function<absl::Status(const oci::Descriptor&, size_t index)>;

  /// `abandoned` is set when a download has failed, and ends the downloads when anyone sets it.
  LayerDownloads(const std::vector<oci::Descriptor>& layers, int threads, Fetch fetch,
                 std::atomic<bool>& abandoned)
      : layers_(layers),
        fetch_(std::move(fetch)),
        abandoned_(abandoned),
        done_(layers.size(), false) {
    const size_t count = std::min<size_t>(std::max(threads, 1), layers.size());
    for (size_t i = 0; i < count; ++i) threads_.emplace_back([this] { Work(); });
  }
  ~LayerDownloads() {
    for (std::thread& thread : threads_) thread.join();
  }

  /// Waits for one layer; returns the first error of any.
  absl::Status Wait(size_t index) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return done_[index] || !error_.ok(); });
    return error_;
  }

 private:
  void Work() {
    for (;;) {
      const size_t index = next_++;
      if (index >= layers_.size() || abandoned_) return;
      const absl::Status status = fetch_(layers_[index], index);
      const std::lock_guard lock(mutex_);
      if (status.ok()) {
        done_[index] = true;
      } else {
        // In this order, or the cancellation of another would pass for the reason.
        error_.Update(status);
        abandoned_ = true;
      }
      changed_.notify_all();
    }
  }

  const std::vector<oci::Descriptor>& layers_;
  const Fetch fetch_;
  std::atomic<bool>& abandoned_;
  std::atomic<size_t> next_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<bool> done_;
  absl::Status error_;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<store::NamedImage> Pull(store::ContentStore& store, const PullOptions& options,
                                       Reporter& reporter, const Cancelled& cancelled) {
  std::atomic<bool> abandoned = false;  // a part has failed, so the others may end
  const Cancelled stopped = [&] { return abandoned.load() || (cancelled && cancelled()); };
  oci::RegistryClient registry(options.reference, options.registry, stopped);
  const std::unique_ptr<store::Lease> lease = store.NewLease();

  // Manifests and the configuration.
  const auto get_document = [&](const oci::Descriptor& descriptor,
                                size_t limit_bytes) -> absl::StatusOr<std::string> {
    lease->PinBlob(descriptor.digest);
    absl::StatusOr<std::string> local = store.ReadBlob(descriptor, limit_bytes);
    if (local.ok()) return local;
    // Whatever is wrong with ours, a good one replaces it.
    if (oci::IsIndexType(descriptor.media_type) || oci::IsManifestType(descriptor.media_type)) {
      ASSIGN_OR_RETURN(const auto fetched, registry.GetManifest(descriptor.digest));
      RETURN_IF_ERROR(store.PutBlob(fetched.body, *lease).status());
      return fetched.body;
    }
    if (descriptor.size_bytes > static_cast<int64_t>(limit_bytes)) {
      return absl::ResourceExhaustedError("the image's configuration is too large");
    }
    ASSIGN_OR_RETURN(const std::unique_ptr<store::BlobWriter> blob, store.NewBlob());
    std::string body;
    RETURN_IF_ERROR(registry.GetBlob(descriptor, 0, [&](absl::string_view data) -> absl::Status {
      body.append(data.data(), data.size());
      return blob->Append(data);
    }));
    RETURN_IF_ERROR(blob->Commit(descriptor.digest, descriptor.size_bytes, *lease).status());
    return body;
  };

  ProgressEvent resolving;
  resolving.task_id = "resolve";
  resolving.description = absl::StrCat("Resolving ", options.reference.Familiar());
  reporter.Report(resolving);
  const std::string& tag_or_digest =
      options.reference.digest.empty() ? options.reference.tag : options.reference.digest;
  ASSIGN_OR_RETURN(auto top, registry.GetManifest(tag_or_digest));
  // The document's own word decides where a registry's header is none of the known types.
  ASSIGN_OR_RETURN(const oci::Document document,
                   oci::ParseDocument(top.body, top.descriptor.media_type), "read the manifest");
  top.descriptor.media_type =
      std::visit([](const auto& parsed) { return parsed.media_type; }, document);
  RETURN_IF_ERROR(store.PutBlob(top.body, *lease).status());
  ASSIGN_OR_RETURN(const Variant variant,
                   ResolveVariant(get_document, top.descriptor, options.platform));
  resolving.done = true;
  reporter.Report(resolving);

  // Layers. An image may have one of them several times.
  const std::vector<oci::Descriptor>& layers = variant.manifest.layers;
  std::vector<oci::Descriptor> unique;
  std::map<std::string, size_t> position;
  for (const oci::Descriptor& layer : layers) {
    if (position.emplace(layer.digest, unique.size()).second) unique.push_back(layer);
  }
  absl::StatusOr<std::string> root;
  std::vector<ArrivingLayer> arriving(unique.size());
  {
    LayerDownloads downloads(
        unique, options.max_concurrent_downloads,
        [&](const oci::Descriptor& layer, size_t index) -> absl::Status {
          ProgressEvent event;
          event.task_id = oci::ShortDigest(layer.digest);
          event.description = absl::StrCat("Fetching layer ", index + 1, " of ", unique.size());
          event.total_bytes = layer.size_bytes;
          const absl::Status status = FetchBlob(
              store, *lease, registry, layer, arriving[index],
              [&](int64_t bytes) {
                event.completed_bytes = bytes;
                reporter.Report(event);
              },
              stopped);
          RETURN_IF_ERROR(status, absl::StrCat("fetch layer ", oci::ShortDigest(layer.digest)));
          event.completed_bytes = layer.size_bytes;
          event.done = true;
          reporter.Report(event);
          return absl::OkStatus();
        },
        abandoned);
    const LayerReady ready = [&](size_t index) {
      return downloads.Wait(position.at(layers[index].digest));
    };
    root = BuildRoot(store, *lease, variant, ready, reporter, stopped, [&](size_t index) {
      return arriving[position.at(layers[index].digest)].Open(stopped);
    });
    if (!root.ok() && !(cancelled && cancelled())) {
      // The reason may be a download that has failed, or was begun anew since.
      for (size_t i = 0; i < unique.size(); ++i) RETURN_IF_ERROR(downloads.Wait(i));
      root = BuildRoot(store, *lease, variant, ready, reporter, stopped);
    }
    // A root that was there already, or failed early, doesn't say that all layers have come.
    absl::Status fetched;
    if (root.ok()) {
      for (size_t i = 0; i < unique.size() && fetched.ok(); ++i) fetched = downloads.Wait(i);
    } else {
      // The unpacking may have been stopped by a download that failed: that one is the reason.
      if (absl::IsCancelled(root.status()) && abandoned && !unique.empty()) {
        fetched = downloads.Wait(0);
      }
      abandoned = true;
    }
    RETURN_IF_ERROR(fetched);
    RETURN_IF_ERROR(root.status());
  }
  store::NamedImage image{options.reference.Normalized(), top.descriptor};
  RETURN_IF_ERROR(store.Put({image}), "name the image");
  return image;
}

}  // namespace container::images
