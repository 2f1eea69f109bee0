// Makes tar streams for tests, header by header, right or wrong.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace container::archive {

/// A ustar header as the test wants it; the checksum is made right.
struct TarHeader {
  std::string name;
  char type = '0';
  std::string link;
  uint32_t mode = 0644;
  uint64_t uid = 0;
  uint64_t gid = 0;
  uint64_t size = 0;
  int64_t mtime = 0;
  uint32_t major = 0;
  uint32_t minor = 0;
  std::string size_field;  // 12 bytes in place of `size`
};

class TarBuilder {
 public:
  /// A header alone.
  TarBuilder& Header(const TarHeader& header);
  /// Bytes, padded to a whole block.
  TarBuilder& Data(std::string_view data);
  /// Bytes as they are.
  TarBuilder& Raw(std::string_view data);

  TarBuilder& File(std::string_view name, std::string_view content, uint32_t mode = 0644);
  TarBuilder& Folder(std::string_view name, uint32_t mode = 0755);
  TarBuilder& Symlink(std::string_view name, std::string_view target);
  TarBuilder& HardLink(std::string_view name, std::string_view target);
  /// An extended header ('x' or 'g') for what follows.
  TarBuilder& Extended(const std::vector<std::pair<std::string, std::string>>& records,
                       char type = 'x');

  /// All so far, with the end marker.
  std::string Finish() const { return bytes_ + std::string(1024, '\0'); }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace container::archive
