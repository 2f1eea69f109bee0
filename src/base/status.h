// The one error type inside: absl::Status and absl::StatusOr, with a phrase of context a level.
//
// A message reads "what: why": each level prepends what it was doing. Codes are chosen where the
// error arises and pass through unchanged.
#pragma once

#include <string>
#include <utility>
#include "absl/strings/string_view.h"

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace container::base {

/// Returns `status` with "`context`: " before its message. OK stays OK.
absl::Status Annotate(absl::Status status, absl::string_view context);
/// For the macros below without a phrase.
inline absl::Status Annotate(absl::Status status) { return status; }

/// Status of a failed system call: the code that fits `error_number` (ENOENT: NOT_FOUND, EEXIST:
/// ALREADY_EXISTS, EACCES and EPERM: PERMISSION_DENIED, ENOSPC and EDQUOT: RESOURCE_EXHAUSTED,
/// ECONNREFUSED: UNAVAILABLE, …; INTERNAL otherwise) and the message "`what`: <strerror>".
absl::Status ErrnoStatus(int error_number, absl::string_view what);

/// ErrnoStatus of errno.
absl::Status ErrnoStatus(absl::string_view what);

}  // namespace container::base

#define CONTAINER_CONCAT_INNER_(a, b) a##b
#define CONTAINER_CONCAT_(a, b) CONTAINER_CONCAT_INNER_(a, b)

/// RETURN_IF_ERROR(expression) or RETURN_IF_ERROR(expression, "phrase"): returns a Status that is
/// not OK to the caller, with the phrase before its message. The phrase is evaluated on error only.
#define RETURN_IF_ERROR(expression, ...)                                                \
  do {                                                                                  \
    ::absl::Status status_macro_result_ = (expression);                                 \
    if (!status_macro_result_.ok()) [[unlikely]] {                                      \
      return ::container::base::Annotate(std::move(status_macro_result_) __VA_OPT__(, ) \
                                             __VA_ARGS__);                              \
    }                                                                                   \
  } while (false)

/// ASSIGN_OR_RETURN(auto value, expression) or with a phrase: likewise for a StatusOr.
#define ASSIGN_OR_RETURN(target, expression, ...)                         \
  ASSIGN_OR_RETURN_IMPL_(CONTAINER_CONCAT_(status_or_, __LINE__), target, \
                         expression __VA_OPT__(, ) __VA_ARGS__)

#define ASSIGN_OR_RETURN_IMPL_(temporary, target, expression, ...)                                \
  auto temporary = (expression);                                                                  \
  if (!temporary.ok()) [[unlikely]] {                                                             \
    return ::container::base::Annotate(std::move(temporary).status() __VA_OPT__(, ) __VA_ARGS__); \
  }                                                                                               \
  target = *std::move(temporary)
