#include "plugins/core_images/archive/decompress.h"

#include <isa-l.h>
#include <openssl/evp.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "fmt/format.h"

namespace container::archive {
namespace {

constexpr size_t kInputBufferBytes = 256 << 10;
constexpr size_t kMagicBytes = 10;

// No gzip header in use is longer, though its file name has no bound.
constexpr size_t kGzipHeaderBytes = 16 << 10;

// 128 MiB, zstd's own default bound for decoders: memory that an image may make us take.
constexpr int kZstdWindowLog = 27;

bool StartsWith(std::span<const char> bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

bool IsZstd(std::span<const char> bytes) {
  using std::string_view_literals::operator""sv;
  if (StartsWith(bytes, "\x28\xb5\x2f\xfd"sv)) return true;
  // A skippable frame: 0x184D2A50 to 0x184D2A5F, little endian.
  return bytes.size() >= 4 && (static_cast<uint8_t>(bytes[0]) & 0xf0) == 0x50 &&
         std::memcmp(bytes.data() + 1, "\x2a\x4d\x18", 3) == 0;
}

struct EvpDeleter {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
struct ZstdDeleter {
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
};

}  // namespace

struct Decompressor::State {
  State(Source& source, DecompressOptions o) : input(source), options(o) {}

  Source& input;
  DecompressOptions options;
  Compression compression = Compression::kNone;
  std::vector<char> buffer = std::vector<char>(kInputBufferBytes);
  size_t begin = 0;
  size_t end = 0;
  bool input_done = false;
  uint64_t input_bytes = 0;
  uint64_t output_bytes = 0;

  std::unique_ptr<inflate_state> gzip;
  bool between_members = true;
  std::unique_ptr<ZSTD_DCtx, ZstdDeleter> zstd;
  bool inside_frame = false;

  std::unique_ptr<EVP_MD_CTX, EvpDeleter> hash;
  std::string digest;
  bool done = false;
  absl::Status error;
};

Decompressor::Decompressor(std::unique_ptr<State> state) : state_(std::move(state)) {}
Decompressor::~Decompressor() = default;

Compression Decompressor::compression() const { return state_->compression; }
uint64_t Decompressor::input_bytes() const { return state_->input_bytes; }
uint64_t Decompressor::output_bytes() const { return state_->output_bytes; }

absl::StatusOr<std::string> Decompressor::Digest() const {
  if (!state_->done || state_->digest.empty()) {
    return absl::FailedPreconditionError("the layer has not been read and hashed to its end");
  }
  return state_->digest;
}

absl::StatusOr<std::unique_ptr<Decompressor>> Decompressor::Create(Source& input,
                                                                   DecompressOptions options) {
  using std::string_view_literals::operator""sv;
  auto state = std::make_unique<State>(input, options);
  ASSIGN_OR_RETURN(state->end, ReadFully(input, std::span(state->buffer).first(kMagicBytes)));
  state->input_done = state->end < kMagicBytes;
  state->input_bytes = state->end;
  const std::span<const char> magic(state->buffer.data(), state->end);
  if (StartsWith(magic, "\x1f\x8b"sv)) {
    state->compression = Compression::kGzip;
    state->gzip = std::make_unique<inflate_state>();
    isal_inflate_init(state->gzip.get());
  } else if (IsZstd(magic)) {
    state->compression = Compression::kZstd;
    state->zstd.reset(ZSTD_createDCtx());
    if (!state->zstd) return absl::ResourceExhaustedError("no memory for a zstd decoder");
    ZSTD_DCtx_setParameter(state->zstd.get(), ZSTD_d_windowLogMax, kZstdWindowLog);
  } else if (StartsWith(magic,
                        "\xfd"
                        "7zXZ\0"sv)) {
    return absl::UnimplementedError("the layer is compressed by xz, which images don't use");
  } else if (StartsWith(magic, "BZh") && StartsWith(magic.subspan(4), "1AY&SY")) {
    return absl::UnimplementedError("the layer is compressed by bzip2, which images don't use");
  }
  if (options.compute_digest) {
    state->hash.reset(EVP_MD_CTX_new());
    if (!state->hash || EVP_DigestInit_ex(state->hash.get(), EVP_sha256(), nullptr) != 1) {
      return absl::InternalError("SHA-256 is not available");
    }
  }
  return std::unique_ptr<Decompressor>(new Decompressor(std::move(state)));
}

// False at the end of the input.
absl::StatusOr<bool> Decompressor::Refill() {
  State& s = *state_;
  if (s.begin < s.end) return true;
  if (s.input_done) return false;
  ASSIGN_OR_RETURN(const size_t got, s.input.Read(s.buffer));
  s.begin = 0;
  s.end = got;
  s.input_bytes += got;
  s.input_done = got == 0;
  return got > 0;
}

absl::StatusOr<size_t> Decompressor::ReadPlain(std::span<char> buffer) {
  State& s = *state_;
  if (s.begin < s.end) {
    const size_t count = std::min(buffer.size(), s.end - s.begin);
    std::memcpy(buffer.data(), s.buffer.data() + s.begin, count);
    s.begin += count;
    return count;
  }
  if (s.input_done) return 0;
  ASSIGN_OR_RETURN(const size_t got, s.input.Read(buffer));
  s.input_bytes += got;
  s.input_done = got == 0;
  return got;
}

absl::StatusOr<size_t> Decompressor::ReadGzip(std::span<char> buffer) {
  State& s = *state_;
  inflate_state& z = *s.gzip;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, Refill());
    if (s.between_members) {
      // Members may be followed by padding with zeros, as gzip itself has it.
      while (s.begin < s.end && s.buffer[s.begin] == 0) ++s.begin;
      if (s.begin == s.end) {
        if (!more) return 0;
        continue;
      }
      // ISA-L fails on a header with a file name that comes in pieces.
      if (s.end - s.begin < kGzipHeaderBytes && !s.input_done) {
        std::memmove(s.buffer.data(), s.buffer.data() + s.begin, s.end - s.begin);
        s.end -= s.begin;
        s.begin = 0;
        const std::span<char> room = std::span(s.buffer).subspan(s.end);
        ASSIGN_OR_RETURN(const size_t got, ReadFully(s.input, room));
        s.end += got;
        s.input_bytes += got;
        s.input_done = got < room.size();
      }
      isal_inflate_reset(&z);
      z.crc_flag = ISAL_GZIP;
      s.between_members = false;
    }
    z.next_in = reinterpret_cast<uint8_t*>(s.buffer.data() + s.begin);
    z.avail_in = static_cast<uint32_t>(s.end - s.begin);
    z.next_out = reinterpret_cast<uint8_t*>(buffer.data());
    z.avail_out = static_cast<uint32_t>(std::min<size_t>(buffer.size(), 1u << 30));
    const uint32_t room = z.avail_out;
    const int result = isal_inflate(&z);
    s.begin = s.end - z.avail_in;
    if (result != ISAL_DECOMP_OK) {
      return absl::DataLossError(
          result == ISAL_INCORRECT_CHECKSUM
              ? std::string("gzip: the checksum doesn't match")
              : fmt::format("gzip: damaged data near byte {}", s.input_bytes - z.avail_in));
    }
    if (z.block_state == ISAL_BLOCK_FINISH) s.between_members = true;
    const size_t produced = room - z.avail_out;
    if (produced > 0) return produced;
    if (!more && !s.between_members) {
      return absl::DataLossError("gzip: the data ends early");
    }
  }
}

absl::StatusOr<size_t> Decompressor::ReadZstd(std::span<char> buffer) {
  State& s = *state_;
  for (;;) {
    ASSIGN_OR_RETURN(const bool more, Refill());
    if (!more && !s.inside_frame) return 0;
    ZSTD_inBuffer in = {s.buffer.data() + s.begin, s.end - s.begin, 0};
    ZSTD_outBuffer out = {buffer.data(), buffer.size(), 0};
    const size_t result = ZSTD_decompressStream(s.zstd.get(), &out, &in);
    s.begin += in.pos;
    if (ZSTD_isError(result)) {
      return absl::DataLossError(fmt::format("zstd: {}", ZSTD_getErrorName(result)));
    }
    s.inside_frame = result != 0;
    if (out.pos > 0) return out.pos;
    if (!more && in.pos == 0 && s.inside_frame) {
      return absl::DataLossError("zstd: the data ends early");
    }
  }
}

absl::StatusOr<size_t> Decompressor::Read(std::span<char> buffer) {
  State& s = *state_;
  if (!s.error.ok()) return s.error;
  if (s.done || buffer.empty()) return 0;
  absl::StatusOr<size_t> got = s.compression == Compression::kGzip   ? ReadGzip(buffer)
                               : s.compression == Compression::kZstd ? ReadZstd(buffer)
                                                                     : ReadPlain(buffer);
  if (got.ok() && *got > s.options.output_limit_bytes - s.output_bytes) {
    got = absl::ResourceExhaustedError(
        fmt::format("the layer has more than {} bytes", s.options.output_limit_bytes));
  }
  if (!got.ok()) {
    s.error = got.status();
    return got;
  }
  s.output_bytes += *got;
  if (s.hash && *got > 0) EVP_DigestUpdate(s.hash.get(), buffer.data(), *got);
  if (*got == 0) {
    s.done = true;
    if (s.hash) {
      std::array<uint8_t, EVP_MAX_MD_SIZE> value;
      unsigned int size = 0;
      EVP_DigestFinal_ex(s.hash.get(), value.data(), &size);
      s.digest = "sha256:";
      for (unsigned int i = 0; i < size; ++i) s.digest += fmt::format("{:02x}", value[i]);
    }
  }
  return got;
}

}  // namespace container::archive
