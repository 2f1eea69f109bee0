// Decodes an image layer: gzip (RFC 1952, several members), zstd (RFC 8878, several frames) or
// nothing, told apart by the first bytes; hashes the uncompressed stream as it passes.
//
// Errors: DATA_LOSS for input that is damaged or ends early, RESOURCE_EXHAUSTED past the limit of
// output bytes, UNIMPLEMENTED for compressions that images don't use (xz, bzip2); those of the
// input unchanged.
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "plugins/core_images/archive/source.h"

namespace container::archive {

enum class Compression { kNone, kGzip, kZstd };

struct DecompressOptions {
  /// Decoded bytes that are let through at most: the guard against bombs.
  uint64_t output_limit_bytes = std::numeric_limits<uint64_t>::max();
  /// False saves the hashing where nobody asks for the digest.
  bool compute_digest = true;
};

class Decompressor : public Source {
 public:
  /// Reads the first bytes of `input`, which must outlive the decoder.
  static absl::StatusOr<std::unique_ptr<Decompressor>> Create(Source& input,
                                                              DecompressOptions options = {});
  ~Decompressor() override;

  absl::StatusOr<size_t> Read(std::span<char> buffer) override;

  Compression compression() const;
  /// Bytes pulled from the input so far.
  uint64_t input_bytes() const;
  /// Decoded bytes so far.
  uint64_t output_bytes() const;
  /// "sha256:<hex>" of the uncompressed stream (a layer's diff_id). FAILED_PRECONDITION before
  /// Read has returned 0 or without compute_digest.
  absl::StatusOr<std::string> Digest() const;

 private:
  struct State;
  explicit Decompressor(std::unique_ptr<State> state);
  absl::StatusOr<size_t> ReadPlain(std::span<char> buffer);
  absl::StatusOr<size_t> ReadGzip(std::span<char> buffer);
  absl::StatusOr<size_t> ReadZstd(std::span<char> buffer);
  absl::StatusOr<bool> Refill();

  std::unique_ptr<State> state_;
};

}  // namespace container::archive
