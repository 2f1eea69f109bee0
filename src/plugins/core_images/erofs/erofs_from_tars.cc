// erofs_from_tars OUTPUT LAYER...: flattens layers, lowest first, and says how long it took.
// Options: --plain (no digest), --ahead (inflate in a thread of its own).

#include <fcntl.h>

#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/status.h"
#include "fmt/format.h"
#include "plugins/core_images/archive/decompress.h"
#include "plugins/core_images/erofs/flatten.h"

namespace container {
namespace {

absl::Status Run(const std::vector<std::string>& arguments) {
  archive::DecompressOptions options;
  bool ahead = false;
  std::vector<std::string> files;
  for (const std::string& argument : arguments) {
    if (argument == "--plain") {
      options.compute_digest = false;
    } else if (argument == "--ahead") {
      ahead = true;
    } else {
      files.push_back(argument);
    }
  }
  if (files.empty()) {
    return absl::InvalidArgumentError("usage: erofs_from_tars [--plain] [--ahead] OUTPUT LAYER...");
  }
  const auto start = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const auto flattener, erofs::Flattener::Create(files[0]));
  uint64_t bytes = 0;
  for (size_t i = 1; i < files.size(); ++i) {
    ASSIGN_OR_RETURN(const base::Fd file, base::Open(files[i], O_RDONLY));
    archive::FdSource source(file.get());
    ASSIGN_OR_RETURN(const auto layer, archive::Decompressor::Create(source, options));
    if (ahead) {
      archive::ReadAhead buffered(*layer);
      RETURN_IF_ERROR(flattener->AddLayer(buffered), files[i]);
    } else {
      RETURN_IF_ERROR(flattener->AddLayer(*layer), files[i]);
    }
    bytes += layer->output_bytes();
    if (options.compute_digest) {
      ASSIGN_OR_RETURN(const std::string digest, layer->Digest());
      fmt::print("layer {} {}\n", files[i], digest);
    }
  }
  const auto written = std::chrono::steady_clock::now();
  ASSIGN_OR_RETURN(const erofs::ImageSummary summary, flattener->Finish());
  const auto end = std::chrono::steady_clock::now();
  const auto seconds = [](auto duration) {
    return std::chrono::duration<double>(duration).count();
  };
  fmt::print("image {} bytes, {} inodes, uuid {}\n", summary.image_bytes, summary.inodes,
             summary.uuid);
  fmt::print("{} bytes of tar in {:.3f} s ({:.0f} MB/s), finish and fsync {:.3f} s\n", bytes,
             seconds(written - start), static_cast<double>(bytes) / 1e6 / seconds(written - start),
             seconds(end - written));
  return absl::OkStatus();
}

}  // namespace
}  // namespace container

int main(int argc, char** argv) {
  const absl::Status status = container::Run(std::vector<std::string>(argv + 1, argv + argc));
  if (status.ok()) return 0;
  fmt::print(stderr, "erofs_from_tars: {}\n", std::string(status.message()));
  return 1;
}
