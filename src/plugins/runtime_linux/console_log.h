// What the VM's console and QEMU itself say, kept in a file of bounded size.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fd.h"

namespace container::runtime_linux {

/// Not thread-safe, but for what its owner guards.
class ConsoleLog {
 public:
  static constexpr size_t kMaxFileBytes = 1 << 20;
  static constexpr size_t kTailBytes = 2048;

  /// Starts `path` anew. A file that is full is renamed to `path`.1, in place of the one before: at
  /// least the last MiB and at most two are kept. An empty path: only the tail is kept.
  static absl::StatusOr<ConsoleLog> Create(std::string path);

  /// Never fails: a full disk costs the console's text, not the container.
  void Append(absl::string_view text);

  /// The last lines, printable characters only, for error messages.
  std::string Tail() const;

 private:
  explicit ConsoleLog(std::string path) : path_(std::move(path)) {}
  absl::Status Open();
  std::string path_;
  base::Fd file_;
  size_t size_bytes_ = 0;
  std::string tail_;
};

}  // namespace container::runtime_linux
