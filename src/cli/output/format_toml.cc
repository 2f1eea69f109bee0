// Apart from the others: toml++ is slow to compile.
#include "cli/output/format.h"
#include "nlohmann/json.hpp"
#include "toml++/toml.h"

#include <sstream>

namespace container::cli {
namespace {

using Json = nlohmann::ordered_json;

toml::table ToTable(const Json& value);

/// Calls `add` with the TOML value of a JSON one; null has none.
template <typename Add>
void Convert(const Json& value, Add add);

toml::array ToArray(const Json& value) {
  toml::array array;
  for (const Json& item : value) {
    Convert(item, [&](auto&& converted) { array.push_back(std::move(converted)); });
  }
  return array;
}

toml::table ToTable(const Json& value) {
  toml::table table;
  for (const auto& [key, member] : value.items()) {
    Convert(member, [&, &name = key](auto&& converted) {
      table.insert_or_assign(name, std::move(converted));
    });
  }
  return table;
}

template <typename Add>
void Convert(const Json& value, Add add) {
  if (value.is_object()) {
    add(ToTable(value));
  } else if (value.is_array()) {
    add(ToArray(value));
  } else if (value.is_string()) {
    add(value.get<std::string>());
  } else if (value.is_boolean()) {
    add(value.get<bool>());
  } else if (value.is_number_integer()) {
    add(value.get<int64_t>());
  } else if (value.is_number()) {
    add(value.get<double>());
  }
}

}  // namespace

std::string FormatToml(const Json& value, absl::string_view plural) {
  std::ostringstream out;
  if (value.is_object()) {
    out << ToTable(value);
  } else {
    toml::table top;
    top.insert(std::string(plural), ToArray(value));
    out << top;
  }
  return out.str() + "\n";
}

}  // namespace container::cli
