// Names from archives in messages.
#pragma once

#include <string>
#include <string_view>

namespace container::archive {

/// `name` in double quotes, with bytes that aren't printable ASCII as \xNN, and cut off behind 1024
/// bytes: an archive chooses its names.
std::string Quote(std::string_view name);

}  // namespace container::archive
