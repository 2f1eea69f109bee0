#include "plugins/core_images/archive/decompress.h"

#include <gtest/gtest.h>
#include <isa-l.h>
#include <zstd.h>

#include <algorithm>
#include <string>

namespace container::archive {
namespace {

std::string Text(size_t size) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < size) {
    state = state * 1664525 + 1013904223;
    text += "word" + std::to_string(state >> 20) + (state & 64 ? " " : "\n");
  }
  text.resize(size);
  return text;
}

std::string Gzip(std::string text) {
  isal_zstream stream;
  isal_deflate_init(&stream);
  std::string out(text.size() + text.size() / 8 + 1024, '\0');
  stream.gzip_flag = IGZIP_GZIP;
  stream.end_of_stream = 1;
  stream.next_in = reinterpret_cast<uint8_t*>(text.data());
  stream.avail_in = static_cast<uint32_t>(text.size());
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = static_cast<uint32_t>(out.size());
  EXPECT_EQ(isal_deflate(&stream), COMP_OK);
  out.resize(stream.total_out);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

struct Result {
  absl::Status status;
  std::string text;
  std::string digest;
  Compression compression = Compression::kNone;
};

// Gives its input in short pieces, so that every boundary is met.
class Dribble : public Source {
 public:
  Dribble(std::string_view data, size_t step) : data_(data), step_(step) {}
  absl::StatusOr<size_t> Read(std::span<char> buffer) override {
    const size_t count = std::min({step_, data_.size(), buffer.size()});
    std::copy_n(data_.begin(), count, buffer.begin());
    data_.remove_prefix(count);
    return count;
  }

 private:
  std::string_view data_;
  size_t step_;
};

Result Decode(std::string_view data, size_t in_step = 1 << 20, size_t out_step = 70'000,
              DecompressOptions options = {}) {
  Dribble source(data, in_step);
  Result result;
  auto decoder = Decompressor::Create(source, options);
  result.status = decoder.status();
  if (!decoder.ok()) return result;
  result.compression = (*decoder)->compression();
  std::string buffer(out_step, '\0');
  for (;;) {
    const absl::StatusOr<size_t> got = (*decoder)->Read(buffer);
    result.status = got.status();
    if (!got.ok()) {
      EXPECT_EQ((*decoder)->Read(buffer).status(), got.status());
      EXPECT_FALSE((*decoder)->Digest().ok());
      return result;
    }
    if (*got == 0) break;
    result.text.append(buffer, 0, *got);
  }
  EXPECT_EQ((*decoder)->input_bytes(), data.size());
  EXPECT_EQ((*decoder)->output_bytes(), result.text.size());
  result.digest = (*decoder)->Digest().value();
  return result;
}

TEST(DecompressorTest, HashesWhatItGives) {
  EXPECT_EQ(Decode("abc").digest,
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(Decode(Gzip("abc")).digest, Decode("abc").digest);
  EXPECT_EQ(Decode(Zstd("abc")).digest, Decode("abc").digest);
  EXPECT_EQ(Decode("").digest,
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

TEST(DecompressorTest, DecodesAtEveryBoundary) {
  const std::string text = Text(900'000);
  const std::string gzip = Gzip(text);
  const std::string zstd = Zstd(text);
  for (const size_t in_step : {size_t{1}, size_t{13}, size_t{4096}, size_t{1} << 20}) {
    for (const size_t out_step : {size_t{7}, size_t{4096}, size_t{262'144}, size_t{2} << 20}) {
      if (in_step == 1 && out_step == 7) continue;
      const Result plain = Decode(text, in_step, out_step);
      EXPECT_TRUE(plain.text == text && plain.compression == Compression::kNone);
      const Result a = Decode(gzip, in_step, out_step);
      EXPECT_TRUE(a.text == text && a.compression == Compression::kGzip) << a.status;
      const Result b = Decode(zstd, in_step, out_step);
      EXPECT_TRUE(b.text == text && b.compression == Compression::kZstd) << b.status;
    }
  }
}

TEST(DecompressorTest, JoinsMembersAndFrames) {
  const std::string text = Text(100'000);
  for (const size_t step : {size_t{1}, size_t{1000}, size_t{1} << 20}) {
    EXPECT_EQ(Decode(Gzip(text) + Gzip("") + Gzip("tail") + std::string(700, '\0'), step).text,
              text + "tail");
    // A skippable frame first, as seekable formats have.
    EXPECT_EQ(
        Decode(std::string("\x50\x2a\x4d\x18\x03\0\0\0abc", 11) + Zstd(text) + Zstd("tail"), step)
            .text,
        text + "tail");
  }
}

// As gzip(1) writes it from a file.
TEST(DecompressorTest, DecodesAGzipHeaderWithAName) {
  const std::string text = Text(3000);
  std::string gzip = Gzip(text);
  gzip[3] |= 8;
  gzip.insert(10, std::string("archive.tar\0", 12));
  for (const size_t step : {size_t{1}, size_t{7}, size_t{4096}}) {
    const Result result = Decode(gzip + gzip, step);
    EXPECT_TRUE(result.status.ok()) << result.status;
    EXPECT_EQ(result.text, text + text);
  }
}

TEST(DecompressorTest, RefusesTruncatedInput) {
  const std::string text = Text(300'000);
  for (const std::string& data : {Gzip(text), Zstd(text)}) {
    for (const size_t cut : {size_t{1}, size_t{4}, size_t{9}, data.size() / 2, data.size() - 11}) {
      const Result result = Decode(std::string_view(data).substr(0, data.size() - cut));
      EXPECT_EQ(result.status.code(), absl::StatusCode::kDataLoss) << cut << result.status;
    }
  }
  EXPECT_EQ(Decode(Gzip(text).substr(0, 5)).status.code(), absl::StatusCode::kDataLoss);
}

TEST(DecompressorTest, RefusesDamagedInput) {
  const std::string text = Text(300'000);
  std::string gzip = Gzip(text);
  gzip[gzip.size() - 6] ^= 1;  // in the checksum
  EXPECT_EQ(Decode(gzip).status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decode(Gzip(text) + "garbage").status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Decode(Zstd(text) + "garbage").status.code(), absl::StatusCode::kDataLoss);
}

TEST(DecompressorTest, BoundsItsOutput) {
  const std::string bomb = Gzip(std::string(20'000'000, '\0'));
  EXPECT_EQ(Decode(bomb, 1 << 20, 70'000, {.output_limit_bytes = 1'000'000}).status.code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Decode(bomb, 1 << 20, 70'000, {.output_limit_bytes = 20'000'000}).status.ok());
}

TEST(DecompressorTest, NamesWhatItDoesNotKnow) {
  EXPECT_EQ(Decode(std::string_view("\xfd"
                                    "7zXZ\0\0\0\0\0\0\0",
                                    12))
                .status.code(),
            absl::StatusCode::kUnimplemented);
  EXPECT_EQ(Decode("BZh91AY&SYxxxx").status.code(), absl::StatusCode::kUnimplemented);
}

}  // namespace
}  // namespace container::archive
