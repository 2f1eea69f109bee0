#include "plugins/core_images/archive/tar_builder.h"

#include <cstring>

#include "fmt/format.h"

namespace container::archive {

TarBuilder& TarBuilder::Header(const TarHeader& header) {
  std::string block(512, '\0');
  const auto put = [&](size_t offset, size_t size, std::string_view text) {
    block.replace(offset, std::min(size, text.size()), text.substr(0, size));
  };
  put(0, 100, header.name);
  put(100, 8, fmt::format("{:07o}", header.mode));
  put(108, 8, fmt::format("{:07o}", header.uid));
  put(116, 8, fmt::format("{:07o}", header.gid));
  put(124, 12, header.size_field.empty() ? fmt::format("{:011o}", header.size) : header.size_field);
  put(136, 12, fmt::format("{:011o}", header.mtime));
  block[156] = header.type;
  put(157, 100, header.link);
  put(257, 8, std::string_view("ustar\00000", 8));
  put(329, 8, fmt::format("{:07o}", header.major));
  put(337, 8, fmt::format("{:07o}", header.minor));
  uint32_t sum = 8 * ' ';
  for (const char c : block) sum += static_cast<uint8_t>(c);
  put(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  bytes_ += block;
  return *this;
}

TarBuilder& TarBuilder::Data(std::string_view data) {
  bytes_ += data;
  bytes_.resize((bytes_.size() + 511) / 512 * 512);
  return *this;
}

TarBuilder& TarBuilder::Raw(std::string_view data) {
  bytes_ += data;
  return *this;
}

TarBuilder& TarBuilder::File(std::string_view name, std::string_view content, uint32_t mode) {
  TarHeader header;
  header.name = name;
  header.mode = mode;
  header.size = content.size();
  return Header(header).Data(content);
}

TarBuilder& TarBuilder::Folder(std::string_view name, uint32_t mode) {
  TarHeader header;
  header.name = name;
  header.type = '5';
  header.mode = mode;
  return Header(header);
}

TarBuilder& TarBuilder::Symlink(std::string_view name, std::string_view target) {
  TarHeader header;
  header.name = name;
  header.type = '2';
  header.link = target;
  return Header(header);
}

TarBuilder& TarBuilder::HardLink(std::string_view name, std::string_view target) {
  TarHeader header;
  header.name = name;
  header.type = '1';
  header.link = target;
  return Header(header);
}

TarBuilder& TarBuilder::Extended(const std::vector<std::pair<std::string, std::string>>& records,
                                 char type) {
  std::string text;
  for (const auto& [key, value] : records) {
    const std::string body = fmt::format(" {}={}\n", key, value);
    size_t size = body.size() + 1;
    while (std::to_string(size).size() + body.size() != size) ++size;
    text += std::to_string(size) + body;
  }
  TarHeader header;
  header.name = "pax";
  header.type = type;
  header.size = text.size();
  return Header(header).Data(text);
}

}  // namespace container::archive
