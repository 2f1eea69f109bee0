// The frames that carry calls over one byte stream. The format, and what each side may do when, is
// described at the top of proto/vminitd.proto.
//
// Neither side trusts the other: what breaks a bound below is DATA_LOSS, after which the connection
// is of no use any more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace container::link {

enum class FrameType : uint8_t {
  kRequest = 1,   // client: opens a stream; `code` is the method
  kResponse = 2,  // server: ends a stream; `code` is the status
  kData = 3,      // both: one message of a stream
  kClose = 4,     // client: no more messages from it
  kCancel = 5,    // client: nobody waits for the stream's end any more
  kWindow = 6,    // both: credit for the other side's messages, 4 bytes
};

inline constexpr size_t kHeaderBytes = 12;
/// The largest payload of a REQUEST or RESPONSE. A process's arguments and environment are the
/// largest thing that crosses, and execve(2) takes at most 2 MiB of them.
inline constexpr size_t kMaxMessageBytes = size_t{4} << 20;
/// The largest payload of a DATA frame: a chunk of 64 KiB, and room for what is around it.
inline constexpr size_t kMaxDataBytes = size_t{128} << 10;
/// The credit of each direction of a new stream.
inline constexpr int64_t kWindowBytes = int64_t{256} << 10;
/// Text of a failed call that is longer is cut.
inline constexpr size_t kMaxErrorBytes = size_t{16} << 10;
/// The most streams that a server has open at once.
inline constexpr size_t kMaxStreams = 2048;

struct Frame {
  FrameType type{};
  uint32_t stream = 0;
  uint16_t code = 0;
  absl::string_view payload;
};

/// Appends the frame's bytes to `out`.
void AppendFrame(std::string& out, const Frame& frame);
void AppendWindow(std::string& out, uint32_t stream, uint32_t bytes);
/// A RESPONSE: `message` if `status` is OK, else the status.
void AppendResponse(std::string& out, uint32_t stream, const absl::Status& status,
                    absl::string_view message);

/// The bytes of a WINDOW frame, or DATA_LOSS.
absl::StatusOr<uint32_t> WindowBytes(const Frame& frame);
/// The status of a RESPONSE frame.
absl::Status ResponseStatus(const Frame& frame);

/// Cuts a byte stream into frames. Holds at most one frame and what came with its end.
class FrameReader {
 public:
  /// Where the next bytes go; valid until another call.
  std::span<char> Space();
  /// So many bytes of Space() have come.
  void Filled(size_t count) { end_ += count; }
  /// The next whole frame, valid until Space() is called; false if there is none yet. Frames of
  /// unknown types are passed over. DATA_LOSS if the bytes are no frames.
  absl::StatusOr<bool> Next(Frame& frame);

 private:
  std::string buffer_;
  size_t begin_ = 0;
  size_t end_ = 0;
  size_t wanted_ = 0;  // of the frame that has begun, header included
};

}  // namespace container::link
