// Tar streams to a tree to an EROFS image. The input is cut at its first "CUT!" into two layers.
// Header blocks get a right checksum, or hardly any change of the input would get past it.

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "plugins/core_images/archive/tar_reader.h"
#include "plugins/core_images/erofs/image_writer.h"
#include "plugins/core_images/erofs/layer_applier.h"
#include "plugins/core_images/erofs/tree.h"

namespace archive = container::archive;
namespace erofs = container::erofs;

namespace {

constexpr size_t kBlockBytes = 512;
constexpr uint64_t kImageLimitBytes = 64 << 20;

void FixChecksums(std::string& tar) {
  for (size_t at = 0; at + kBlockBytes <= tar.size(); at += kBlockBytes) {
    char* block = tar.data() + at;
    if (std::memcmp(block + 257, "ustar", 5) != 0) continue;
    std::memset(block + 148, ' ', 8);
    unsigned sum = 0;
    for (size_t i = 0; i < kBlockBytes; ++i) sum += static_cast<unsigned char>(block[i]);
    std::snprintf(block + 148, 8, "%06o", sum);
  }
}

// A folder must be its children's parent, and nobody's name may be a path.
void Check(const erofs::Inode& folder, int depth) {
  for (const auto& [name, link] : folder.folder->links) {
    if (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
        name.find('\0') != std::string::npos || name.size() > 255) {
      std::abort();
    }
    if (!link.inode->is_folder()) continue;
    if (link.inode->folder->parent != &folder) std::abort();
    if (depth < 1000) Check(*link.inode, depth + 1);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const int fd = ::memfd_create("image", MFD_CLOEXEC);
  if (::ftruncate(fd, 0) != 0 || ::lseek(fd, 0, SEEK_SET) != 0) std::abort();
  erofs::Tree tree(erofs::TreeLimits{10'000, 64 << 20});
  erofs::ImageWriter writer(fd, kImageLimitBytes);
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const size_t cut = std::min(all.find("CUT!"), all.size());
  uint32_t number = 0;
  for (const std::string_view part : {all.substr(0, cut), all.substr(std::min(cut + 4, size))}) {
    std::string tar(part);
    FixChecksums(tar);
    archive::MemorySource source({tar.data(), tar.size()});
    archive::TarReader reader(source);
    if (!erofs::LayerApplier(tree, writer, ++number).Apply(reader, {}).ok()) return 0;
    Check(*tree.root(), 0);
  }
  const auto summary = writer.Finish(tree, "fuzz");
  if (summary.ok() && summary->image_bytes > kImageLimitBytes) std::abort();
  return 0;
}
