#include "plugins/core_images/archive/quote.h"

#include "fmt/format.h"

namespace container::archive {

std::string Quote(std::string_view name) {
  constexpr size_t kMost = 1024;
  std::string quoted = "\"";
  for (const char c : name.substr(0, kMost)) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c >= ' ' && c <= '~') {
      quoted += c;
    } else {
      quoted += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
  }
  return quoted + (name.size() > kMost ? "\"..." : "\"");
}

}  // namespace container::archive
