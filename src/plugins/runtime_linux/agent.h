// The client of vminitd over a VM's agent port.
//
// The guest is not trusted: every call but RunProcess has a deadline and every message a bound.
// Thread-safe. Errors: those of proto/vminitd.proto, UNAVAILABLE when the VM is gone,
// DEADLINE_EXCEEDED, DATA_LOSS when the guest sends what no agent would.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/fd.h"
#include "proto/vminitd.pb.h"

namespace container::runtime_linux {

namespace guest = ::container::vminitd::v1;

/// One call of RunProcess. One thread may read while another writes. The destructor cancels.
class ProcessStream {
 public:
  virtual ~ProcessStream() = default;
  /// False at the end of the stream.
  virtual bool Read(guest::ProcessOutput* output) = 0;
  /// Blocks while the guest takes nothing; false if the stream has ended.
  virtual bool Write(const guest::ProcessInput& input) = 0;
  /// Ends the call, which wakes both threads.
  virtual void Cancel() = 0;
  /// How it ended. To be called once, when Read has returned false and nobody writes any more.
  virtual absl::Status Finish() = 0;
};

class Agent {
 public:
  using milliseconds = std::chrono::milliseconds;

  /// Takes the host's end of the port.
  static absl::StatusOr<std::unique_ptr<Agent>> Connect(base::Fd port);
  virtual ~Agent() = default;

  /// Tells the guest the time and gives it entropy; with `container`, has that made as well. The
  /// calls go out together and `sent` is called then: what follows need not wait for their answers.
  virtual absl::StatusOr<guest::HelloResponse> Begin(const guest::CreateContainerRequest* container,
                                                     const std::function<void()>& sent,
                                                     milliseconds timeout) = 0;

  /// Asks for a process; the stream's first message tells what came of that.
  virtual std::unique_ptr<ProcessStream> RunProcess(const guest::StartProcess& start) = 0;
  virtual absl::Status Signal(const std::string& container_id, const std::string& process_id,
                              int signal, milliseconds timeout) = 0;
  virtual absl::Status Resize(const std::string& container_id, const std::string& process_id,
                              uint32_t rows, uint32_t columns, milliseconds timeout) = 0;
  virtual absl::Status PowerOff(milliseconds timeout) = 0;
};

}  // namespace container::runtime_linux
