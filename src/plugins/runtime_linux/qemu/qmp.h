// A client of QEMU's machine protocol over a socket that is connected already.
//
// One thread (the VM's, see vm.h) watches fd() and calls OnReadable(); any thread calls Execute(),
// which waits for that thread to hand it the answer. QEMU is not trusted: lines are bounded,
// answers to nobody are dropped.
//
// Errors: UNAVAILABLE when the connection is gone, DEADLINE_EXCEEDED, INTERNAL for an error that
// QEMU reports (its text is the message) or for a line that is no QMP.
//
// Source: docs/interop/qmp-spec.txt of QEMU.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/fd.h"
#include "nlohmann/json_fwd.hpp"

namespace container::runtime_linux {

class Qmp {
 public:
  using EventHandler = std::function<void(const std::string& name, const nlohmann::json& data)>;

  /// Sends the negotiation at once. `on_event` runs in the thread that calls OnReadable, under no
  /// lock; it must not call Execute.
  static absl::StatusOr<std::unique_ptr<Qmp>> Create(base::Fd socket, EventHandler on_event);
  ~Qmp();

  int fd() const { return socket_.get(); }

  /// Takes in what has come. An error is final: every waiting Execute has failed then.
  absl::Status OnReadable();

  /// `arguments` is an object or null. Returns what QEMU returns.
  absl::StatusOr<nlohmann::json> Execute(absl::string_view command, const nlohmann::json& arguments,
                                         std::chrono::milliseconds timeout);

  /// The same for who doesn't wait for the answer.
  absl::Status Send(absl::string_view command, const nlohmann::json& arguments,
                    std::chrono::milliseconds timeout);

  /// Fails every waiting and later call with UNAVAILABLE.
  void Close();

 private:
  using Clock = std::chrono::steady_clock;
  struct Answer;

  Qmp(base::Fd socket, EventHandler on_event);
  absl::Status Write(const std::string& line, Clock::time_point deadline);
  absl::Status OnLine(absl::string_view line);
  absl::Status Fail(absl::Status status);

  const base::Fd socket_;
  const EventHandler on_event_;
  std::string received_;  // of OnReadable's thread alone

  std::mutex write_mutex_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool closed_ = false;
  uint64_t next_id_ = 1;
  std::map<uint64_t, std::unique_ptr<Answer>> answers_;  // awaited; filled when they come
};

}  // namespace container::runtime_linux
