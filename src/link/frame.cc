#include "link/frame.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace container::link {
namespace {

constexpr size_t kReadBytes = size_t{16} << 10;

void AppendLittleEndian(std::string& out, uint64_t value, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

uint32_t LittleEndian(const char* bytes, size_t count) {
  uint32_t value = 0;
  for (size_t i = 0; i < count; ++i) {
    value |= uint32_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

size_t MaxPayload(FrameType type) {
  switch (type) {
    case FrameType::kData:
      return kMaxDataBytes;
    case FrameType::kClose:
    case FrameType::kCancel:
      return 0;
    case FrameType::kWindow:
      return 4;
    default:
      return kMaxMessageBytes;
  }
}

bool Known(FrameType type) { return type >= FrameType::kRequest && type <= FrameType::kWindow; }

}  // namespace

void AppendFrame(std::string& out, const Frame& frame) {
  AppendLittleEndian(out, frame.payload.size(), 4);
  AppendLittleEndian(out, frame.stream, 4);
  AppendLittleEndian(out, static_cast<uint8_t>(frame.type), 1);
  AppendLittleEndian(out, 0, 1);
  AppendLittleEndian(out, frame.code, 2);
  out.append(frame.payload.data(), frame.payload.size());
}

void AppendWindow(std::string& out, uint32_t stream, uint32_t bytes) {
  std::string payload;
  AppendLittleEndian(payload, bytes, 4);
  AppendFrame(out, {FrameType::kWindow, stream, 0, payload});
}

void AppendResponse(std::string& out, uint32_t stream, const absl::Status& status,
                    absl::string_view message) {
  absl::string_view text = status.message();
  AppendFrame(out, {FrameType::kResponse, stream, static_cast<uint16_t>(status.code()),
                    status.ok() ? message : text.substr(0, kMaxErrorBytes)});
}

absl::StatusOr<uint32_t> WindowBytes(const Frame& frame) {
  if (frame.payload.size() != 4) return absl::DataLossError("a window frame of the wrong length");
  return LittleEndian(frame.payload.data(), 4);
}

absl::Status ResponseStatus(const Frame& frame) {
  if (frame.code == 0) return absl::OkStatus();
  const bool known = frame.code <= static_cast<uint16_t>(absl::StatusCode::kUnauthenticated);
  return absl::Status(
      known ? static_cast<absl::StatusCode>(frame.code) : absl::StatusCode::kUnknown,
      frame.payload.substr(0, kMaxErrorBytes));
}

std::span<char> FrameReader::Space() {
  if (begin_ == end_) {
    begin_ = end_ = 0;
    // What a large message needed is not kept.
    if (buffer_.size() > kMaxDataBytes * 2) std::string().swap(buffer_);
  } else if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  // The space for a large message grows with what has come of it: a length alone costs no memory.
  const size_t room = std::max(kReadBytes, std::min(wanted_ - std::min(wanted_, end_), end_));
  if (buffer_.size() < end_ + room) buffer_.resize(end_ + room);
  return std::span<char>(buffer_).subspan(end_);
}

absl::StatusOr<bool> FrameReader::Next(Frame& frame) {
  for (;;) {
    wanted_ = kHeaderBytes;
    if (end_ - begin_ < kHeaderBytes) return false;
    const char* header = buffer_.data() + begin_;
    const size_t length = LittleEndian(header, 4);
    frame.stream = LittleEndian(header + 4, 4);
    frame.type = static_cast<FrameType>(header[8]);
    frame.code = static_cast<uint16_t>(LittleEndian(header + 10, 2));
    if (length > MaxPayload(frame.type)) {
      return absl::DataLossError(absl::StrCat("a frame of type ", static_cast<int>(frame.type),
                                              " with ", length, " bytes"));
    }
    wanted_ += length;
    if (end_ - begin_ < wanted_) return false;
    frame.payload = absl::string_view(header + kHeaderBytes, length);
    begin_ += wanted_;
    if (!Known(frame.type)) continue;
    if (frame.stream == 0) return absl::DataLossError("a frame of stream 0");
    return true;
  }
}

}  // namespace container::link
