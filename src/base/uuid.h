// Random names.
#pragma once

#include <cstddef>
#include <string>

namespace container::base {

/// A random (version 4) UUID in lower case.
std::string NewUuid();
/// `bytes` random bytes in hexadecimal, from getrandom(2).
std::string RandomHex(size_t bytes);
/// `bytes` random bytes.
std::string RandomBytes(size_t bytes);

}  // namespace container::base
