// The content store: blobs by digest, names in index.json, flattened root file systems.
//
// On disk it is an OCI image layout (base/paths.h draws it), which skopeo and others can read: each
// name is an entry of index.json whose annotation org.opencontainers.image.ref.name holds the
// normalized reference. Nothing unverified or half-written ever has a final name: blobs are
// written under staging/, hashed, fsynced and renamed; index.json is replaced as a whole.
//
// One process owns a store (flock on content/lock). Within it:
// - a Lease keeps what it pins from being swept, so a pull and a deletion may run side by side;
// - a KeyLock makes two workers that want one blob or one root take turns.
//
// Threads: all classes but BlobWriter may be used by several at once. Errors: those of the file
// system (RESOURCE_EXHAUSTED when the disk is full), DATA_LOSS where content is not what its name
// says, NOT_FOUND for what is not there.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fd.h"
#include "base/paths.h"
#include "plugins/core_images/oci/digest.h"
#include "plugins/core_images/oci/manifest.h"

namespace container::store {

struct NamedImage {
  std::string name;  // normalized reference
  oci::Descriptor descriptor;
};

/// What the store takes of the disk, in bytes of blocks.
struct StoreUsage {
  int64_t blob_bytes = 0;
  int64_t reclaimable_blob_bytes = 0;  // that no name in use and no lease needs
  int64_t roots = 0;
  int64_t linked_roots = 0;  // that a container uses
  int64_t root_bytes = 0;
  int64_t reclaimable_root_bytes = 0;
  int64_t leftover_bytes = 0;  // interrupted downloads, and what was damaged
};

class ContentStore;

/// A blob under way. Dropped without Commit, it leaves nothing behind, unless it comes from
/// ResumeBlob.
class BlobWriter {
 public:
  ~BlobWriter();
  BlobWriter(const BlobWriter&) = delete;
  BlobWriter& operator=(const BlobWriter&) = delete;

  absl::Status Append(absl::string_view data);
  /// What is there so far, for reading while it grows; stays good after Commit.
  absl::StatusOr<base::Fd> OpenForReading() const;
  int64_t size_bytes() const { return size_bytes_; }
  /// Leaves nothing behind, wherever it comes from.
  void Discard() { is_resumable_ = false; }

  /// Makes the blob durable and visible under its digest, which it returns. DATA_LOSS if
  /// `expected_digest` (unless empty) or `expected_size_bytes` (unless negative) is another.
  /// `lease` pins it in the same moment.
  absl::StatusOr<std::string> Commit(absl::string_view expected_digest, int64_t expected_size_bytes,
                                     class Lease& lease);

 private:
  friend class ContentStore;
  BlobWriter(ContentStore& store, std::string path, base::Fd fd)
      : store_(store), path_(std::move(path)), fd_(std::move(fd)) {}

  ContentStore& store_;
  std::string path_;  // empty once committed
  base::Fd fd_;
  oci::Sha256 hasher_;
  int64_t size_bytes_ = 0;
  int64_t flushed_bytes_ = 0;
  bool is_resumable_ = false;
};

/// Keeps what is pinned from being swept while the object lives. Pin first, look second.
class Lease {
 public:
  ~Lease();
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;

  void PinBlob(absl::string_view digest);
  void PinRoot(absl::string_view chain_id_hex);

 private:
  friend class ContentStore;
  friend class BlobWriter;
  explicit Lease(ContentStore& store) : store_(store) {}
  void PinLocked(std::string key);
  ContentStore& store_;
  std::vector<std::string> keys_;
};

/// Holds one key, such as a digest; others that want it wait.
class KeyLock {
 public:
  ~KeyLock();
  KeyLock(const KeyLock&) = delete;
  KeyLock& operator=(const KeyLock&) = delete;

 private:
  friend class ContentStore;
  KeyLock(ContentStore& store, std::string key) : store_(store), key_(std::move(key)) {}
  ContentStore& store_;
  std::string key_;
};

class ContentStore {
 public:
  /// Takes the lock (UNAVAILABLE if another process has it), removes what a crash left half-done,
  /// reads index.json. One that can't be read is moved to the set-aside folder: see TakeWarnings.
  static absl::StatusOr<std::unique_ptr<ContentStore>> Open(const base::Paths& paths);

  /// What had to be set aside since the last call, for the log.
  std::vector<std::string> TakeWarnings();

  // Blobs.

  /// True if the blob is there in full. A file of the wrong size is set aside.
  absl::StatusOr<bool> Has(absl::string_view digest, int64_t size_bytes);
  absl::StatusOr<base::Fd> OpenBlob(absl::string_view digest) const;
  /// A small blob, its size and digest verified. NOT_FOUND, DATA_LOSS.
  absl::StatusOr<std::string> ReadBlob(const oci::Descriptor& descriptor, size_t limit_bytes) const;
  /// Hashes a blob. One that is damaged is set aside: DATA_LOSS.
  absl::Status Verify(absl::string_view digest);
  absl::StatusOr<std::unique_ptr<BlobWriter>> NewBlob();
  /// A blob that stays staged when it is dropped half-written, so that the next one of that digest
  /// goes on from there: Append continues behind size_bytes(). The caller holds the Lock of the
  /// digest. What is staged is verified with the rest, by Commit; more than `size_bytes` is
  /// dropped.
  absl::StatusOr<std::unique_ptr<BlobWriter>> ResumeBlob(absl::string_view digest,
                                                         int64_t size_bytes);
  /// Stores a small document and returns its digest, pinned.
  absl::StatusOr<std::string> PutBlob(absl::string_view content, Lease& lease);
  std::string BlobPath(absl::string_view digest) const;

  // Names.

  std::vector<NamedImage> List() const;  // sorted by name
  std::optional<NamedImage> Find(const std::string& name) const;
  /// Gives names to what is in the store, all at once; a name that exists is moved.
  absl::Status Put(const std::vector<NamedImage>& images);
  /// NOT_FOUND if there is no such name.
  absl::Status Remove(const std::string& name);

  // Roots.

  std::string RootPath(absl::string_view chain_id_hex) const;
  /// A path beside the roots for one under construction; removed at the next Open if left there.
  std::string TemporaryRootPath();
  /// Renames a finished, fsynced root to its final name.
  absl::Status CommitRoot(const std::string& temporary, absl::string_view chain_id_hex);

  // Looking.

  /// The digests of all blobs.
  absl::StatusOr<std::vector<std::string>> Blobs() const;
  /// The chain ids of all roots.
  absl::StatusOr<std::vector<std::string>> Roots() const;
  /// A root that is damaged; OK if it has gone meanwhile.
  absl::Status SetRootAside(absl::string_view chain_id_hex, absl::string_view why);
  /// `names_in_use`: those that would survive. Where a manifest can't be read, nothing counts as
  /// reclaimable.
  absl::StatusOr<StoreUsage> Usage(const std::set<std::string>& names_in_use) const;

  // Collection.

  std::unique_ptr<Lease> NewLease();
  /// Waits until nobody else holds `key`; CANCELLED when `cancelled` turns true before.
  absl::StatusOr<std::unique_ptr<KeyLock>> Lock(absl::string_view key,
                                                const std::function<bool()>& cancelled);
  /// Removes what ResumeBlob has left and no lease pins, and damaged blobs and roots that were set
  /// aside. Returns the bytes of disk that became free.
  absl::StatusOr<int64_t> SweepStaged();
  /// Removes blobs and roots that neither a name nor a lease needs: all such, or of `candidates`
  /// (digests) alone. Returns the bytes of disk that became free. Removes nothing and fails if a
  /// document that says what is needed can't be read.
  absl::StatusOr<int64_t> Sweep(const std::set<std::string>* candidates = nullptr);

 private:
  friend class BlobWriter;
  friend class Lease;
  friend class KeyLock;

  explicit ContentStore(const base::Paths& paths);
  absl::Status Prepare();
  absl::Status CleanStaging();
  absl::Status LoadIndex();
  absl::Status WriteIndexLocked(const std::map<std::string, oci::Descriptor>& names) const;
  absl::Status SyncBlobs();
  absl::Status SetAside(const std::string& path, absl::string_view why);
  absl::Status MarkLocked(std::set<std::string>& keep) const;
  absl::Status MarkDescriptor(const oci::Descriptor& descriptor, int depth,
                              std::set<std::string>& keep) const;

  const std::string root_;   // content/
  const std::string roots_;  // rootfs/
  const std::string set_aside_;
  base::Fd lock_;

  mutable std::mutex mutex_;  // guards all below, index.json, and sweeping
  std::map<std::string, oci::Descriptor> names_;
  std::vector<std::string> warnings_;
  std::map<std::string, int> pins_;  // by "sha256:…" or "root:…"
  bool blobs_unsynced_ = false;      // blobs/sha256 has names that a crash could lose

  std::mutex keys_mutex_;
  std::condition_variable keys_changed_;
  std::set<std::string> held_keys_;
};

}  // namespace container::store
