// A command on a terminal, and a person at it.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/fd.h"
#include "base/subprocess.h"

namespace container::e2e {

/// Runs a command with a pseudo-terminal as its controlling terminal and standard streams.
class Terminal {
 public:
  Terminal(const base::SubprocessSpec& spec, int rows, int columns);

  void Type(const std::string& text);
  void Resize(int rows, int columns);
  /// Reads until `text` has appeared since the last call; false at the deadline.
  bool WaitForText(const std::string& text,
                   std::chrono::milliseconds timeout = std::chrono::seconds(60));
  /// The exit status as a shell has it; -1 at the deadline.
  int WaitForExit(std::chrono::milliseconds timeout = std::chrono::seconds(60));
  /// Whether the terminal is in the mode a shell expects (canonical, echo).
  bool IsCooked() const;
  const std::string& seen() const { return seen_; }

 private:
  bool ReadMore(std::chrono::milliseconds timeout);
  base::Fd master_;
  base::Fd slave_;  // held, so that the master reads no end of file between two programs
  std::optional<base::Subprocess> child_;
  std::string seen_;
  size_t searched_ = 0;
};

}  // namespace container::e2e
