// gzip, zstd and plain streams: never more than the limit comes out.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "plugins/core_images/archive/decompress.h"

namespace archive = container::archive;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static std::vector<char> buffer(64 << 10);
  archive::MemorySource input({reinterpret_cast<const char*>(data), size});
  archive::DecompressOptions options;
  options.output_limit_bytes = 4 << 20;
  const auto decoder = archive::Decompressor::Create(input, options);
  if (!decoder.ok()) return 0;
  uint64_t total = 0;
  for (;;) {
    const auto count = (*decoder)->Read(buffer);
    if (!count.ok() && (*decoder)->Read(buffer).status() != count.status()) std::abort();
    if (!count.ok() || *count == 0) {
      if (count.ok() != (*decoder)->Digest().ok()) std::abort();
      break;
    }
    total += *count;
    if (total > options.output_limit_bytes || total != (*decoder)->output_bytes()) std::abort();
  }
  return 0;
}
