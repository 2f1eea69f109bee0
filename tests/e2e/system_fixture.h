// A system of its own for a test program: app root, sockets, logs and configuration in one
// temporary folder, started through the real CLI and stopped at the end, when nothing of it may be
// left.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/subprocess.h"
#include "gtest/gtest.h"

namespace container::e2e {

/// Generous: two of these tests at once, on emulated processors.
inline constexpr std::chrono::seconds kCommandTimeout{120};

struct Result {
  int status = -1;  // of the command as a shell has it; -1 if it had to be killed at the deadline
  std::string out;
  std::string err;
};

/// For EXPECT_… << result.
std::ostream& operator<<(std::ostream& stream, const Result& result);

/// One instance: its folder and the environment that leads every program to it.
class Instance {
 public:
  Instance();
  /// Stops the system and fails the test if a process of the instance lives on.
  ~Instance();

  const std::string& folder() const { return folder_.path(); }
  std::string app_root() const { return folder() + "/app"; }
  std::string Bundle(const std::string& id) const { return app_root() + "/containers/" + id; }

  /// Runs `container ARGUMENTS...`.
  Result Run(const std::vector<std::string>& arguments, const std::string& input = "") const;
  /// Starts it and does not wait; what it prints goes to the files `stdout` and `stderr` names.
  base::Subprocess Start(const std::vector<std::string>& arguments, const std::string& out_file,
                         const std::string& err_file) const;
  /// The spec that Run and Start use, for tests that want their own descriptors.
  base::SubprocessSpec Spec(const std::vector<std::string>& arguments) const;

  /// The environment variable for every command from here on.
  void SetEnvironment(const std::string& name, const std::string& value);

  /// Starts the system and loads the image "first" (see scripts/make-first-image).
  void StartSystem() const;
  void LoadFirstImage() const;

  /// Processes of this instance: those with its folder in their command line.
  std::vector<pid_t> Processes(const std::string& program = "") const;

 private:
  base::TemporaryDirectory folder_;
  std::map<std::string, std::string> environment_;
};

/// The CLI under test and the sources.
std::string BuildDir();
std::string SourceDir();
/// ../shared/images/NAME beside the checkout, or nothing: most machines don't have it.
std::optional<std::string> SharedImage(const std::string& name);
/// Runs any program to its end.
Result RunProgram(const base::SubprocessSpec& spec, const std::string& input,
                  std::chrono::milliseconds timeout);

/// Waits until `condition` holds, looking again every 20 ms; false at the deadline. For what has no
/// event that a test could wait for.
bool Eventually(const std::function<bool()>& condition,
                std::chrono::milliseconds timeout = std::chrono::seconds(60));

/// The fixture: one started instance for all tests of a program.
class SystemTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite();
  static void TearDownTestSuite();
  static Instance& instance() { return *instance_; }
  static Result Run(const std::vector<std::string>& arguments, const std::string& input = "") {
    return instance_->Run(arguments, input);
  }

 private:
  static std::unique_ptr<Instance> instance_;
};

}  // namespace container::e2e
