#include "plugins/core_images/store/content_store.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/file.h"
#include "base/status.h"
#include "base/units.h"
#include "base/uuid.h"

namespace container::store {
namespace {

constexpr char kLayoutFile[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
constexpr size_t kIndexLimitBytes = 64 << 20;
constexpr absl::string_view kTemporaryRootPrefix = "tmp-";
constexpr absl::string_view kResumablePrefix = "partial-";
// How long an interrupted download may wait for its next pull.
constexpr auto kResumableAge = std::chrono::hours(7 * 24);
// Written bytes after which the kernel is told to begin writing them to the disk, so that the fsync
// at the end finds little left.
constexpr int64_t kFlushBytes = 8 << 20;
constexpr absl::string_view kRootSuffix = ".erofs";

// Calls `visit(name, stat)` for each entry of a folder; none if there is no such folder.
template <typename Visit>
absl::Status ForEachEntry(const std::string& folder, const Visit& visit) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    struct stat info;
    if (::lstat(entry.path().c_str(), &info) != 0) continue;  // gone meanwhile
    visit(entry.path().filename().string(), info);
  }
  if (!error || error == std::errc::no_such_file_or_directory) return absl::OkStatus();
  return base::ErrnoStatus(error.value(), absl::StrCat("list ", folder));
}

int64_t DiskBytes(const struct stat& info) { return static_cast<int64_t>(info.st_blocks) * 512; }

// The digest that a blob's file name is, or "".
std::string DigestOfName(const std::string& name) {
  std::string digest = absl::StrCat(oci::kSha256Prefix, name);
  return oci::CheckDigest(digest).ok() ? digest : "";
}

// The chain id of a root's file name, or "".
std::string ChainOfName(const std::string& name) {
  absl::string_view chain = name;
  return absl::ConsumeSuffix(&chain, kRootSuffix) ? std::string(chain) : "";
}

// Whether SetAside has named it after a blob or a root: others are of value to somebody.
bool WasContent(const std::string& name) {
  return name.size() > 64 && name[64] == '.' && !DigestOfName(name.substr(0, 64)).empty();
}

}  // namespace

// BlobWriter

BlobWriter::~BlobWriter() {
  if (!path_.empty() && (!is_resumable_ || size_bytes_ == 0)) ::unlink(path_.c_str());
}

absl::Status BlobWriter::Append(absl::string_view data) {
  hasher_.Update(data);
  RETURN_IF_ERROR(base::WriteAll(fd_.get(), data), "write a blob");
  size_bytes_ += static_cast<int64_t>(data.size());
  if (size_bytes_ - flushed_bytes_ >= kFlushBytes) {
    ::sync_file_range(fd_.get(), flushed_bytes_, size_bytes_ - flushed_bytes_,
                      SYNC_FILE_RANGE_WRITE);
    flushed_bytes_ = size_bytes_;
  }
  return absl::OkStatus();
}

absl::StatusOr<base::Fd> BlobWriter::OpenForReading() const {
  return base::Open(path_, O_RDONLY | O_CLOEXEC);
}

absl::StatusOr<std::string> BlobWriter::Commit(absl::string_view expected_digest,
                                               int64_t expected_size_bytes, Lease& lease) {
  const std::string digest = hasher_.Finish();
  if (expected_size_bytes >= 0 && size_bytes_ != expected_size_bytes) {
    return absl::DataLossError(absl::StrCat("blob ", oci::ShortDigest(expected_digest), " has ",
                                            size_bytes_, " bytes instead of ",
                                            expected_size_bytes));
  }
  if (!expected_digest.empty() && digest != expected_digest) {
    return absl::DataLossError(
        absl::StrCat("blob ", expected_digest, " is damaged: its content has digest ", digest));
  }
  if (::fdatasync(fd_.get()) != 0) return base::ErrnoStatus("fsync a blob");
  const std::string target = store_.BlobPath(digest);
  const std::lock_guard lock(store_.mutex_);
  if (::rename(path_.c_str(), target.c_str()) != 0) {
    return base::ErrnoStatus(absl::StrCat("rename ", path_, " to ", target));
  }
  store_.blobs_unsynced_ = true;
  lease.PinLocked(digest);
  path_.clear();
  return digest;
}

// Lease and KeyLock

Lease::~Lease() {
  const std::lock_guard lock(store_.mutex_);
  for (const std::string& key : keys_) {
    const auto found = store_.pins_.find(key);
    if (--found->second == 0) store_.pins_.erase(found);
  }
}

void Lease::PinLocked(std::string key) {
  ++store_.pins_[key];
  keys_.push_back(std::move(key));
}

void Lease::PinBlob(absl::string_view digest) {
  const std::lock_guard lock(store_.mutex_);
  PinLocked(std::string(digest));
}

void Lease::PinRoot(absl::string_view chain_id_hex) {
  const std::lock_guard lock(store_.mutex_);
  PinLocked(absl::StrCat("root:", chain_id_hex));
}

KeyLock::~KeyLock() {
  const std::lock_guard lock(store_.keys_mutex_);
  store_.held_keys_.erase(key_);
  store_.keys_changed_.notify_all();
}

absl::StatusOr<std::unique_ptr<KeyLock>> ContentStore::Lock(
    absl::string_view key, const std::function<bool()>& cancelled) {
  // A caller's cancellation can't wake us, so look for it now and then.
  constexpr auto kLookEvery = std::chrono::milliseconds(100);
  std::unique_lock lock(keys_mutex_);
  const std::string wanted(key);
  while (held_keys_.contains(wanted)) {
    keys_changed_.wait_for(lock, kLookEvery);
    if (cancelled && cancelled()) return absl::CancelledError("cancelled while waiting");
  }
  held_keys_.insert(wanted);
  return std::unique_ptr<KeyLock>(new KeyLock(*this, wanted));
}

std::unique_ptr<Lease> ContentStore::NewLease() { return std::unique_ptr<Lease>(new Lease(*this)); }

// ContentStore

ContentStore::ContentStore(const base::Paths& paths)
    : root_(paths.ContentStore()), roots_(paths.RootFilesystems()), set_aside_(paths.SetAside()) {}

absl::StatusOr<std::unique_ptr<ContentStore>> ContentStore::Open(const base::Paths& paths) {
  std::unique_ptr<ContentStore> store(new ContentStore(paths));
  RETURN_IF_ERROR(store->Prepare(), "open the content store");
  return store;
}

absl::Status ContentStore::Prepare() {
  RETURN_IF_ERROR(base::MakeDirectories(root_ + "/blobs/sha256"));
  RETURN_IF_ERROR(base::MakeDirectories(roots_));
  absl::StatusOr<base::Fd> lock = base::LockFile(root_ + "/lock", /*wait=*/false);
  if (!lock.ok()) {
    if (!absl::IsUnavailable(lock.status())) return lock.status();
    return absl::UnavailableError(
        absl::StrCat(root_, " is in use by another container-core-images"));
  }
  lock_ = *std::move(lock);
  RETURN_IF_ERROR(CleanStaging());
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(roots_, error)) {
    if (absl::StartsWith(entry.path().filename().string(), kTemporaryRootPrefix)) {
      RETURN_IF_ERROR(base::RemoveFile(entry.path()));
    }
  }
  if (error) return base::ErrnoStatus(error.value(), absl::StrCat("list ", roots_));
  if (::access((root_ + "/oci-layout").c_str(), F_OK) != 0) {
    RETURN_IF_ERROR(base::WriteFileAtomically(root_ + "/oci-layout", kLayoutFile));
  }
  return LoadIndex();
}

absl::Status ContentStore::CleanStaging() {
  const std::string folder = root_ + "/staging";
  RETURN_IF_ERROR(base::MakeDirectories(folder));
  const auto oldest = std::filesystem::file_time_type::clock::now() - kResumableAge;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::error_code unknown_age;
    const bool keeps = absl::StartsWith(entry.path().filename().string(), kResumablePrefix) &&
                       entry.last_write_time(unknown_age) > oldest;
    if (!keeps || unknown_age) RETURN_IF_ERROR(base::RemoveTree(entry.path()));
  }
  if (error) return base::ErrnoStatus(error.value(), absl::StrCat("list ", folder));
  return absl::OkStatus();
}

absl::Status ContentStore::LoadIndex() {
  const std::string path = root_ + "/index.json";
  absl::StatusOr<std::string> text = base::ReadFile(path, kIndexLimitBytes);
  if (absl::IsNotFound(text.status())) return WriteIndexLocked(names_);
  RETURN_IF_ERROR(text.status());
  // Our own index may hold more images than a stranger's may have entries, so it is read here.
  const auto read = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const nlohmann::json document, oci::ParseJson(*text, kIndexLimitBytes));
    if (!document.is_object() || !document.contains("manifests") ||
        !document["manifests"].is_array()) {
      return absl::InvalidArgumentError("'manifests' is not a list");
    }
    for (const nlohmann::json& item : document["manifests"]) {
      ASSIGN_OR_RETURN(oci::Descriptor descriptor, oci::Descriptor::FromJson(item));
      const auto name = descriptor.annotations.find(oci::kRefNameAnnotation);
      if (name == descriptor.annotations.end()) {
        return absl::InvalidArgumentError(absl::StrCat(descriptor.digest, " has no name"));
      }
      const std::string key = name->second;
      descriptor.annotations.erase(name);
      names_.insert_or_assign(key, std::move(descriptor));
    }
    return absl::OkStatus();
  };
  const absl::Status status = read();
  if (status.ok()) return absl::OkStatus();
  names_.clear();
  RETURN_IF_ERROR(SetAside(path, status.message()));
  return WriteIndexLocked(names_);
}

absl::Status ContentStore::SetAside(const std::string& path, absl::string_view why) {
  RETURN_IF_ERROR(base::MakeDirectories(set_aside_));
  const std::string target = absl::StrCat(
      set_aside_, "/", std::filesystem::path(path).filename().string(), ".",
      base::FormatTimestamp(std::chrono::system_clock::now()), ".", base::RandomHex(2));
  if (::rename(path.c_str(), target.c_str()) != 0) {
    return base::ErrnoStatus(absl::StrCat("set ", path, " aside"));
  }
  warnings_.push_back(absl::StrCat(path, " can't be read (", why, "): moved to ", target));
  return absl::OkStatus();
}

absl::Status ContentStore::WriteIndexLocked(
    const std::map<std::string, oci::Descriptor>& names) const {
  nlohmann::json manifests = nlohmann::json::array();
  for (const auto& [name, descriptor] : names) {
    oci::Descriptor entry = descriptor;
    entry.annotations[oci::kRefNameAnnotation] = name;
    manifests.push_back(entry.ToJson());
  }
  const nlohmann::json document = {
      {"schemaVersion", 2}, {"mediaType", oci::kOciIndex}, {"manifests", std::move(manifests)}};
  return base::WriteFileAtomically(
      root_ + "/index.json",
      document.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
}

std::string ContentStore::BlobPath(absl::string_view digest) const {
  return absl::StrCat(root_, "/blobs/sha256/", oci::DigestHex(digest));
}

absl::StatusOr<bool> ContentStore::Has(absl::string_view digest, int64_t size_bytes) {
  const std::string path = BlobPath(digest);
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return false;
    return base::ErrnoStatus(path);
  }
  if (info.st_size == size_bytes) return true;
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(SetAside(path, absl::StrCat(info.st_size, " bytes instead of ", size_bytes)));
  return false;
}

absl::StatusOr<base::Fd> ContentStore::OpenBlob(absl::string_view digest) const {
  return base::Open(BlobPath(digest), O_RDONLY);
}

absl::StatusOr<std::string> ContentStore::ReadBlob(const oci::Descriptor& descriptor,
                                                   size_t limit_bytes) const {
  ASSIGN_OR_RETURN(std::string content, base::ReadFile(BlobPath(descriptor.digest), limit_bytes));
  if (oci::Sha256Digest(content) != descriptor.digest) {
    return absl::DataLossError(
        absl::StrCat("blob ", descriptor.digest, " in the store is damaged: pull the image again"));
  }
  return content;
}

absl::Status ContentStore::Verify(absl::string_view digest) {
  ASSIGN_OR_RETURN(const base::Fd fd, OpenBlob(digest));
  oci::Sha256 hasher;
  std::vector<char> buffer(256 << 10);
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count, base::ReadSome(fd.get(), buffer));
    if (count == 0) break;
    hasher.Update(absl::string_view(buffer.data(), count));
  }
  const std::string found = hasher.Finish();
  if (found == digest) return absl::OkStatus();
  const std::lock_guard lock(mutex_);
  RETURN_IF_ERROR(SetAside(BlobPath(digest), absl::StrCat("its content has digest ", found)));
  return absl::DataLossError(absl::StrCat("blob ", digest,
                                          " in the store was damaged and has been set aside: pull "
                                          "or load the image again"));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> ContentStore::NewBlob() {
  std::string path = absl::StrCat(root_, "/staging/", base::RandomHex(12));
  ASSIGN_OR_RETURN(base::Fd fd, base::Open(path, O_WRONLY | O_CREAT | O_EXCL, 0600));
  return std::unique_ptr<BlobWriter>(new BlobWriter(*this, std::move(path), std::move(fd)));
}

absl::StatusOr<std::unique_ptr<BlobWriter>> ContentStore::ResumeBlob(absl::string_view digest,
                                                                     int64_t size_bytes) {
  std::string path = absl::StrCat(root_, "/staging/", kResumablePrefix, oci::DigestHex(digest));
  ASSIGN_OR_RETURN(base::Fd fd, base::Open(path, O_RDWR | O_CREAT, 0600));
  std::unique_ptr<BlobWriter> blob(new BlobWriter(*this, std::move(path), std::move(fd)));
  blob->is_resumable_ = true;
  struct stat info;
  if (::fstat(blob->fd_.get(), &info) != 0) return base::ErrnoStatus(blob->path_);
  if (info.st_size > size_bytes && ::ftruncate(blob->fd_.get(), 0) != 0) {
    return base::ErrnoStatus(blob->path_);
  }
  std::vector<char> buffer(256 << 10);
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count, base::ReadSome(blob->fd_.get(), buffer), blob->path_);
    if (count == 0) return blob;
    blob->hasher_.Update(absl::string_view(buffer.data(), count));
    blob->size_bytes_ += static_cast<int64_t>(count);
    blob->flushed_bytes_ = blob->size_bytes_;
  }
}

absl::StatusOr<std::string> ContentStore::PutBlob(absl::string_view content, Lease& lease) {
  const std::string digest = oci::Sha256Digest(content);
  lease.PinBlob(digest);
  // Written only if it isn't there as it should be.
  if (ReadBlob({"", digest, static_cast<int64_t>(content.size())}, content.size()).ok()) {
    return digest;
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<BlobWriter> blob, NewBlob());
  RETURN_IF_ERROR(blob->Append(content));
  return blob->Commit("", -1, lease);
}

absl::Status ContentStore::SyncBlobs() {
  if (!std::exchange(blobs_unsynced_, false)) return absl::OkStatus();
  absl::Status status = base::SyncDirectory(root_ + "/blobs/sha256");
  if (!status.ok()) blobs_unsynced_ = true;
  return status;
}

std::vector<std::string> ContentStore::TakeWarnings() {
  const std::lock_guard lock(mutex_);
  return std::exchange(warnings_, {});
}

std::vector<NamedImage> ContentStore::List() const {
  const std::lock_guard lock(mutex_);
  std::vector<NamedImage> result;
  result.reserve(names_.size());
  for (const auto& [name, descriptor] : names_) result.push_back({name, descriptor});
  return result;
}

std::optional<NamedImage> ContentStore::Find(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = names_.find(name);
  if (found == names_.end()) return std::nullopt;
  return NamedImage{name, found->second};
}

absl::Status ContentStore::Put(const std::vector<NamedImage>& images) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, oci::Descriptor> names = names_;
  bool changed = false;
  for (const NamedImage& image : images) {
    const auto [entry, is_new] = names.try_emplace(image.name, image.descriptor);
    if (!is_new && entry->second == image.descriptor) continue;
    entry->second = image.descriptor;
    changed = true;
  }
  if (!changed) return SyncBlobs();
  // A name must never outlive a crash that its content didn't.
  RETURN_IF_ERROR(SyncBlobs());
  RETURN_IF_ERROR(WriteIndexLocked(names));
  names_ = std::move(names);
  return absl::OkStatus();
}

absl::Status ContentStore::Remove(const std::string& name) {
  const std::lock_guard lock(mutex_);
  std::map<std::string, oci::Descriptor> names = names_;
  if (names.erase(name) == 0) return absl::NotFoundError(absl::StrCat("no such image: ", name));
  RETURN_IF_ERROR(WriteIndexLocked(names));
  names_ = std::move(names);
  return absl::OkStatus();
}

std::string ContentStore::RootPath(absl::string_view chain_id_hex) const {
  return absl::StrCat(roots_, "/", chain_id_hex, ".erofs");
}

std::string ContentStore::TemporaryRootPath() {
  return absl::StrCat(roots_, "/", kTemporaryRootPrefix, base::RandomHex(12));
}

absl::Status ContentStore::CommitRoot(const std::string& temporary,
                                      absl::string_view chain_id_hex) {
  const std::string target = RootPath(chain_id_hex);
  if (::rename(temporary.c_str(), target.c_str()) != 0) {
    return base::ErrnoStatus(absl::StrCat("rename ", temporary, " to ", target));
  }
  return base::SyncDirectory(roots_);
}

// Looking

absl::StatusOr<std::vector<std::string>> ContentStore::Blobs() const {
  std::vector<std::string> digests;
  RETURN_IF_ERROR(
      ForEachEntry(root_ + "/blobs/sha256", [&](const std::string& name, const struct stat&) {
        if (std::string digest = DigestOfName(name); !digest.empty()) digests.push_back(digest);
      }));
  return digests;
}

absl::StatusOr<std::vector<std::string>> ContentStore::Roots() const {
  std::vector<std::string> chains;
  RETURN_IF_ERROR(ForEachEntry(roots_, [&](const std::string& name, const struct stat&) {
    if (std::string chain = ChainOfName(name); !chain.empty()) chains.push_back(chain);
  }));
  return chains;
}

absl::Status ContentStore::SetRootAside(absl::string_view chain_id_hex, absl::string_view why) {
  const std::lock_guard lock(mutex_);
  const absl::Status status = SetAside(RootPath(chain_id_hex), why);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::StatusOr<StoreUsage> ContentStore::Usage(const std::set<std::string>& names_in_use) const {
  const std::lock_guard lock(mutex_);
  std::set<std::string> keep;
  for (const auto& [key, count] : pins_) keep.insert(key);
  bool is_known = true;
  std::set<std::string> named;
  for (const auto& [name, descriptor] : names_) {
    if (!names_in_use.contains(name)) continue;
    is_known = is_known && MarkDescriptor(descriptor, 0, named).ok();
  }
  keep.merge(named);
  StoreUsage usage;
  RETURN_IF_ERROR(
      ForEachEntry(root_ + "/blobs/sha256", [&](const std::string& name, const struct stat& info) {
        usage.blob_bytes += DiskBytes(info);
        if (is_known && !keep.contains(DigestOfName(name))) {
          usage.reclaimable_blob_bytes += DiskBytes(info);
        }
      }));
  RETURN_IF_ERROR(ForEachEntry(roots_, [&](const std::string& name, const struct stat& info) {
    usage.root_bytes += DiskBytes(info);
    const std::string chain = ChainOfName(name);
    if (chain.empty()) return;
    ++usage.roots;
    if (info.st_nlink > 1) {
      ++usage.linked_roots;
    } else if (is_known && !keep.contains(absl::StrCat("root:", chain))) {
      usage.reclaimable_root_bytes += DiskBytes(info);
    }
  }));
  const auto add_leftover = [&](const std::string&, const struct stat& info) {
    usage.leftover_bytes += DiskBytes(info);
  };
  RETURN_IF_ERROR(ForEachEntry(root_ + "/staging", add_leftover));
  RETURN_IF_ERROR(ForEachEntry(set_aside_, [&](const std::string& name, const struct stat& info) {
    // A container may hold a link to it.
    if (WasContent(name) && info.st_nlink == 1) usage.leftover_bytes += DiskBytes(info);
  }));
  return usage;
}

// Collection

absl::Status ContentStore::MarkDescriptor(const oci::Descriptor& descriptor, int depth,
                                          std::set<std::string>& keep) const {
  const bool seen = !keep.insert(descriptor.digest).second;
  if (seen || depth > oci::kIndexDepthLimit) return absl::OkStatus();
  absl::StatusOr<std::string> text = ReadBlob(descriptor, oci::kManifestLimitBytes);
  // Of an index, only the platforms that somebody wanted are here.
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const oci::Document document, oci::ParseDocument(*text, descriptor.media_type),
                   descriptor.digest);
  if (const auto* index = std::get_if<oci::Index>(&document)) {
    for (const oci::Descriptor& entry : index->manifests) {
      // Attestations and artifacts are never fetched, and may hold what we can't parse.
      if (entry.IsAttestation()) continue;
      if (!oci::IsIndexType(entry.media_type) && !oci::IsManifestType(entry.media_type)) continue;
      RETURN_IF_ERROR(MarkDescriptor(entry, depth + 1, keep));
    }
    return absl::OkStatus();
  }
  const auto& manifest = std::get<oci::Manifest>(document);
  for (const oci::Descriptor& layer : manifest.layers) keep.insert(layer.digest);
  keep.insert(manifest.config.digest);
  text = ReadBlob(manifest.config, oci::kConfigLimitBytes);
  if (absl::IsNotFound(text.status())) return absl::OkStatus();
  RETURN_IF_ERROR(text.status());
  ASSIGN_OR_RETURN(const oci::ImageConfig config, oci::ParseConfig(*text), manifest.config.digest);
  keep.insert(absl::StrCat("root:", oci::ChainIdHex(config.diff_ids)));
  return absl::OkStatus();
}

absl::Status ContentStore::MarkLocked(std::set<std::string>& keep) const {
  for (const auto& [key, count] : pins_) keep.insert(key);
  // Pins keep a thing itself, names keep what it refers to as well: mark these separately.
  std::set<std::string> named;
  for (const auto& [name, descriptor] : names_) {
    RETURN_IF_ERROR(MarkDescriptor(descriptor, 0, named), name);
  }
  keep.merge(named);
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ContentStore::SweepStaged() {
  const std::lock_guard lock(mutex_);
  const std::string folder = root_ + "/staging";
  int64_t freed_bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    absl::string_view hex = name;
    if (!absl::ConsumePrefix(&hex, kResumablePrefix)) continue;
    if (pins_.contains(absl::StrCat(oci::kSha256Prefix, hex))) continue;
    struct stat info;
    if (::lstat(entry.path().c_str(), &info) != 0) continue;
    RETURN_IF_ERROR(base::RemoveFile(entry.path()));
    freed_bytes += static_cast<int64_t>(info.st_blocks) * 512;
  }
  if (error) return base::ErrnoStatus(error.value(), absl::StrCat("list ", folder));
  absl::Status removed;
  RETURN_IF_ERROR(ForEachEntry(set_aside_, [&](const std::string& name, const struct stat& info) {
    if (!WasContent(name)) return;
    const absl::Status status = base::RemoveFile(absl::StrCat(set_aside_, "/", name));
    removed.Update(status);
    if (status.ok() && info.st_nlink == 1) freed_bytes += DiskBytes(info);
  }));
  RETURN_IF_ERROR(removed);
  return freed_bytes;
}

absl::StatusOr<int64_t> ContentStore::Sweep(const std::set<std::string>* candidates) {
  const std::lock_guard lock(mutex_);
  std::set<std::string> keep;
  RETURN_IF_ERROR(MarkLocked(keep), "find out which blobs are in use");
  int64_t freed_bytes = 0;
  const auto sweep = [&](const std::string& folder, const auto& key_of) -> absl::Status {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      const std::string key = key_of(entry.path().filename().string());
      if (key.empty() || keep.contains(key)) continue;
      if (candidates != nullptr && !candidates->contains(key)) continue;
      struct stat info;
      if (::lstat(entry.path().c_str(), &info) != 0) continue;
      RETURN_IF_ERROR(base::RemoveFile(entry.path()));
      // A root that a container has linked takes its disk space until the container goes.
      if (info.st_nlink == 1) freed_bytes += static_cast<int64_t>(info.st_blocks) * 512;
    }
    if (error) return base::ErrnoStatus(error.value(), absl::StrCat("list ", folder));
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(sweep(root_ + "/blobs/sha256", [](const std::string& name) {
    const std::string digest = absl::StrCat(oci::kSha256Prefix, name);
    return oci::CheckDigest(digest).ok() ? digest : std::string();
  }));
  RETURN_IF_ERROR(sweep(roots_, [](const std::string& name) {
    const size_t dot = name.find(".erofs");
    if (dot == std::string::npos) return std::string();
    return absl::StrCat("root:", name.substr(0, dot));
  }));
  return freed_bytes;
}

}  // namespace container::store
