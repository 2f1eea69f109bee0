// Byte streams that are pulled: from a descriptor, or read ahead by a thread of their own.
//
// Threads: a Source is used by one thread at a time. Errors pass through unchanged.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace container::archive {

/// A stream of bytes.
class Source {
 public:
  virtual ~Source() = default;
  /// Fills up to `buffer.size()` bytes (at least one) and returns how many; 0 at the end only.
  /// After an error or the end, every further call returns the same.
  virtual absl::StatusOr<size_t> Read(std::span<char> buffer) = 0;
};

/// Reads until `buffer` is full or the stream ends; returns how many bytes it holds.
absl::StatusOr<size_t> ReadFully(Source& source, std::span<char> buffer);

/// Reads a descriptor that it doesn't own from its current position.
class FdSource : public Source {
 public:
  explicit FdSource(int fd) : fd_(fd) {}
  absl::StatusOr<size_t> Read(std::span<char> buffer) override;

 private:
  int fd_;
};

/// Reads a piece of memory that it doesn't own.
class MemorySource : public Source {
 public:
  explicit MemorySource(std::span<const char> data) : data_(data) {}
  absl::StatusOr<size_t> Read(std::span<char> buffer) override;

 private:
  std::span<const char> data_;
};

/// Pulls `input` in a thread of its own, some buffers ahead of the reader, so that inflating and
/// hashing overlap with what is done to the bytes. `input` must outlive it and belongs to the
/// thread until Read has returned the end or an error, or this object is gone. The destructor
/// waits for a Read of the input that is under way.
class ReadAhead : public Source {
 public:
  static constexpr size_t kBufferBytes = 256 << 10;
  static constexpr size_t kBuffers = 8;

  explicit ReadAhead(Source& input);
  ~ReadAhead() override;
  ReadAhead(const ReadAhead&) = delete;
  ReadAhead& operator=(const ReadAhead&) = delete;

  absl::StatusOr<size_t> Read(std::span<char> buffer) override;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace container::archive
