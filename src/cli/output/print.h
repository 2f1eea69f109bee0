// What a command says: results to standard output, everything else to standard error.
//
// A reader that went away (head) ends the program by SIGPIPE, as it does any tool; a full disk is
// an error and exit code 1.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace container::cli {

/// Writes `text` to standard output as it is.
void Print(absl::string_view text);
/// With a newline.
void PrintLine(absl::string_view text);

/// "Error: `message`" to standard error; the first letter of a program's sentence stays as it is.
void PrintError(absl::string_view message);
/// "Warning: `message`" to standard error.
void PrintWarning(absl::string_view message);
/// What to do next, on a line of its own on standard error.
void PrintHint(absl::string_view text);

/// PrintError of a status, with the hint that fits its code where there is one; returns 1.
int Fail(const absl::Status& status);
/// "`what`: " before it.
int Fail(absl::string_view what, const absl::Status& status);

/// Whether a write to standard output has failed; decides the exit code of a success.
bool OutputFailed();

/// The message of an UNAVAILABLE or NOT_FOUND that means that no apiserver answers.
inline constexpr absl::string_view kNotRunning = "container system is not running";

/// Payload type of a status: its text is printed as the hint.
inline constexpr absl::string_view kHintPayload = "container/hint";
absl::Status WithHint(absl::Status status, absl::string_view hint);

}  // namespace container::cli
