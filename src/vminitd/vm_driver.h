// For tests and measurements: boots a VM with the kernel, the initramfs and two disks under QEMU's
// emulation, and speaks to its agent.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/file.h"
#include "base/subprocess.h"
#include "link/client.h"
#include "link/methods.h"
#include "proto/vminitd.pb.h"

namespace container::vminitd {

/// The kernel of the tests: $CONTAINER_TEST_KERNEL, else the build's. NOT_FOUND says what to do.
absl::StatusOr<std::string> TestKernel();

/// An EROFS image of Debian's busybox-static with /etc/passwd, /etc/group and some files that the
/// tests need, and an empty ext4 one of 64 MiB, both made in `folder`.
absl::Status MakeTestDisks(const std::string& folder);

class TestVm {
 public:
  struct Options {
    std::string kernel;
    std::string initramfs;
    std::string folder;  // of MakeTestDisks; the console log goes there too
    int cpus = 2;
    int memory_mib = 1024;
    std::string kernel_arguments;  // more of them
  };
  static absl::StatusOr<std::unique_ptr<TestVm>> Boot(const Options& options);
  ~TestVm();

  link::Client& agent() { return *agent_; }
  /// A call of one request and one response.
  absl::StatusOr<std::string> Call(link::VminitdMethod method, const std::string& request);
  base::Subprocess& qemu() { return qemu_; }
  /// Closes the host's side of the agent's port.
  void Disconnect();
  std::string Console() const;

  absl::StatusOr<v1::HelloResponse> Hello();
  absl::Status Create(const std::string& id, bool read_only = false);

 private:
  TestVm(base::Subprocess qemu, std::string console)
      : qemu_(std::move(qemu)), console_(std::move(console)) {}

  base::Subprocess qemu_;
  std::string console_;
  std::unique_ptr<link::Client> agent_;
};

/// What came of one RunProcess.
struct RunResult {
  absl::Status status;
  bool started = false;
  int pid = 0;
  int exec_failure = 0;
  std::string message;
  std::string output;
  std::string error;
  int exit_code = -1;
};

/// A running call of RunProcess.
class TestProcess {
 public:
  TestProcess(TestVm& vm, const std::string& container, const std::string& id,
              const v1::ProcessSpec& spec);
  /// Until `started` or a failure.
  void AwaitStart();
  /// Reads until the output holds `text`; false if it ended before.
  bool AwaitOutput(const std::string& text);
  void Write(const std::string& data);
  void CloseInput();
  void Cancel() { call_->Cancel(); }
  RunResult Finish();
  RunResult& result() { return result_; }

 private:
  bool ReadOne();
  std::unique_ptr<link::Call> call_;
  RunResult result_;
  bool ended_ = false;
};

v1::ProcessSpec Command(const std::vector<std::string>& arguments);

}  // namespace container::vminitd
