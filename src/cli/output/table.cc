#include "cli/output/table.h"

#include <algorithm>

namespace container::cli {
namespace {

/// A name out of a registry must not be able to move the cursor.
std::string Shown(absl::string_view field) {
  if (field.empty()) return "-";
  std::string shown(field);
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return shown;
}

}  // namespace

size_t DisplayWidth(absl::string_view text) {
  size_t width = 0;
  for (unsigned char c : text) width += (c & 0xc0) != 0x80;
  return width;
}

std::string Table::Render() const {
  std::vector<size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], DisplayWidth(Shown(row[i])));
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string shown = Shown(row[i]);
      text += shown;
      if (i + 1 < row.size()) text.append(widths[i] - DisplayWidth(shown) + 2, ' ');
    }
    text += '\n';
  }
  return text;
}

}  // namespace container::cli
