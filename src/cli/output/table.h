// Aligned columns. A field is never broken or cut: a table wider than the terminal stays whole.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace container::cli {

/// Columns an UTF-8 text takes on a terminal, each code point counted as one; control characters
/// count as the '?' they are shown as.
size_t DisplayWidth(absl::string_view text);

class Table {
 public:
  explicit Table(std::vector<std::string> header) : rows_{std::move(header)} {}

  /// As many fields as the header has. An empty field is shown as "-", so that columns can be cut.
  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Two spaces between columns, none at the ends of lines.
  std::string Render() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace container::cli
