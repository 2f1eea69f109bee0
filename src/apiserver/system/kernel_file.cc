#include "apiserver/system/kernel_file.h"

#include <elf.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/status.h"

namespace container::apiserver {
namespace {

constexpr uint32_t kXenPhys32Entry = 18;

/// A file mapped for reading.
class Mapping {
 public:
  static absl::StatusOr<Mapping> Create(const std::string& path) {
    ASSIGN_OR_RETURN(base::Fd file, base::Open(path, O_RDONLY));
    struct stat info;
    if (::fstat(file.get(), &info) != 0) return base::ErrnoStatus(path);
    if (!S_ISREG(info.st_mode) || info.st_size == 0) {
      return absl::InvalidArgumentError(absl::StrCat(path, " is not a kernel: no content"));
    }
    const size_t size = static_cast<size_t>(info.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (data == MAP_FAILED) return base::ErrnoStatus(absl::StrCat("map ", path));
    return Mapping(static_cast<const char*>(data), size);
  }
  Mapping(Mapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(other.size_) {}
  ~Mapping() {
    if (data_ != nullptr) ::munmap(const_cast<char*>(data_), size_);
  }
  absl::string_view bytes() const { return {data_, size_}; }

 private:
  Mapping(const char* data, size_t size) : data_(data), size_(size) {}
  const char* data_;
  size_t size_;
};

template <typename T>
bool ReadAt(absl::string_view bytes, uint64_t offset, T& value) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof value) return false;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return true;
}

uint64_t Align4(uint64_t size) { return (size + 3) & ~uint64_t{3}; }

bool NotesNamePvh(absl::string_view notes) {
  uint64_t at = 0;
  Elf64_Nhdr note;
  while (ReadAt(notes, at, note)) {
    const uint64_t name_at = at + sizeof note;
    if (name_at + note.n_namesz > notes.size()) return false;
    if (note.n_type == kXenPhys32Entry && notes.substr(name_at, 3) == "Xen") return true;
    at = name_at + Align4(note.n_namesz) + Align4(note.n_descsz);
  }
  return false;
}

bool HasPvhEntry(absl::string_view bytes, const Elf64_Ehdr& header) {
  for (int i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr segment;
    if (!ReadAt(bytes, header.e_phoff + uint64_t{header.e_phentsize} * i, segment)) return false;
    if (segment.p_type != PT_NOTE || segment.p_offset > bytes.size()) continue;
    if (NotesNamePvh(bytes.substr(segment.p_offset, segment.p_filesz))) return true;
  }
  return false;
}

std::string ReleaseOf(absl::string_view bytes) {
  // The banner, "Linux version 6.12.1 (who@where) …"; other texts begin likewise but go on with a
  // format.
  constexpr absl::string_view kBanner = "Linux version ";
  for (size_t at = bytes.find(kBanner); at != absl::string_view::npos;
       at = bytes.find(kBanner, at + 1)) {
    absl::string_view rest = bytes.substr(at + kBanner.size(), 128);
    const size_t end = rest.find(' ');
    if (end == 0 || end == absl::string_view::npos || rest[0] < '0' || rest[0] > '9') continue;
    rest = rest.substr(0, end);
    if (std::all_of(rest.begin(), rest.end(), [](char c) { return c > ' ' && c < 0x7f; })) {
      return std::string(rest);
    }
  }
  return "";
}

}  // namespace

absl::StatusOr<KernelInfo> InspectKernel(const std::string& path) {
  ASSIGN_OR_RETURN(Mapping mapping, Mapping::Create(path));
  const absl::string_view bytes = mapping.bytes();
  Elf64_Ehdr header;
  const bool elf = ReadAt(bytes, 0, header) && std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
  if (!elf && bytes.size() > 0x206 && bytes.substr(0x202, 4) == "HdrS") {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " is a compressed kernel (bzImage): give the vmlinux that it was made from"));
  }
  if (!elf) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not a kernel: an uncompressed vmlinux (ELF) is needed"));
  }
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != EM_X86_64) {
    return absl::InvalidArgumentError(absl::StrCat(path, " is not a kernel for x86-64"));
  }
  if (!HasPvhEntry(bytes, header)) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, " has no PVH entry, by which the VM boots: build the kernel with CONFIG_PVH=y"));
  }
  return KernelInfo{ReleaseOf(bytes)};
}

absl::StatusOr<std::string> Sha256OfFile(const std::string& path) {
  ASSIGN_OR_RETURN(base::Fd file, base::Open(path, O_RDONLY));
  std::unique_ptr<EVP_MD_CTX, void (*)(EVP_MD_CTX*)> digest(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  if (digest == nullptr || EVP_DigestInit_ex(digest.get(), EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("OpenSSL has no SHA-256");
  }
  std::vector<char> block(256 << 10);
  for (;;) {
    ASSIGN_OR_RETURN(size_t size, base::ReadSome(file.get(), block), path);
    if (size == 0) break;
    EVP_DigestUpdate(digest.get(), block.data(), size);
  }
  std::string hash(32, '\0');
  EVP_DigestFinal_ex(digest.get(), reinterpret_cast<unsigned char*>(hash.data()), nullptr);
  return absl::BytesToHexString(hash);
}

}  // namespace container::apiserver
