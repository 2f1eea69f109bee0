// What a file says of itself as a guest kernel.
//
// QEMU's microvm boots an uncompressed x86-64 ELF kernel by its PVH entry, which an ELF note of
// type 18 by "Xen" names (Xen's docs/misc/pvh.pandoc). A bzImage would boot, too, but costs a
// second.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace container::apiserver {

struct KernelInfo {
  std::string release;  // "6.12.1-container"; "" if the image does not say
};

/// INVALID_ARGUMENT, as a sentence, if the file can't be a guest kernel; NOT_FOUND.
absl::StatusOr<KernelInfo> InspectKernel(const std::string& path);

/// SHA-256 of a file in lower-case hexadecimal.
absl::StatusOr<std::string> Sha256OfFile(const std::string& path);

}  // namespace container::apiserver
