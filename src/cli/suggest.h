// The nearest known word to a mistyped one.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace container::cli {

/// Damerau-Levenshtein distance (optimal string alignment) of two words, in bytes.
size_t EditDistance(absl::string_view a, absl::string_view b);

/// The candidate nearest to `word`, or "" if none is near enough to be meant (at most a third of
/// the word's length away, at least 1; or a word that begins with it).
std::string Nearest(absl::string_view word, const std::vector<std::string>& candidates);

/// ": did you mean 'x'?" or "".
std::string DidYouMean(absl::string_view word, const std::vector<std::string>& candidates);

}  // namespace container::cli
