#include "plugins/core_images/erofs/flatten.h"

#include <fcntl.h>
#include <unistd.h>

#include <utility>

#include "base/status.h"
#include "fmt/format.h"

namespace container::erofs {

absl::StatusOr<std::unique_ptr<Flattener>> Flattener::Create(std::string path,
                                                             FlattenLimits limits) {
  ASSIGN_OR_RETURN(base::Fd fd, base::Open(path, O_RDWR | O_CREAT | O_EXCL, 0600));
  return std::unique_ptr<Flattener>(new Flattener(std::move(path), std::move(fd), limits));
}

Flattener::Flattener(std::string path, base::Fd fd, FlattenLimits limits)
    : path_(std::move(path)),
      fd_(std::move(fd)),
      limits_(limits),
      tree_(limits.tree),
      writer_(fd_.get(), limits.image_bytes) {}

Flattener::~Flattener() {
  if (!finished_) unlink(path_.c_str());
}

absl::Status Flattener::AddLayer(archive::Source& tar, const Progress& progress) {
  if (finished_) return absl::FailedPreconditionError("the image is complete");
  if (!error_.ok()) return error_;
  archive::TarReader reader(tar, limits_.tar);
  LayerApplier applier(tree_, writer_, ++layers_);
  error_ = applier.Apply(reader, progress);
  return error_;
}

absl::StatusOr<ImageSummary> Flattener::Finish(std::string_view identity) {
  if (finished_) return absl::FailedPreconditionError("the image is complete");
  if (!error_.ok()) return error_;
  absl::StatusOr<ImageSummary> summary = writer_.Finish(tree_, identity);
  if (!summary.ok()) {
    error_ = summary.status();
    return summary;
  }
  if (fsync(fd_.get()) != 0) {
    error_ = base::ErrnoStatus(fmt::format("fsync {}", path_));
    return error_;
  }
  finished_ = true;
  fd_.Reset();
  return summary;
}

}  // namespace container::erofs
