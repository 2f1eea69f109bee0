#include <poll.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/process_identity.h"
#include "base/status.h"
#include "base/subprocess.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
namespace {

/// From the answer to the shutdown call to the end of the process.
constexpr std::chrono::seconds kEndTimeout(60);

absl::Status StopAndWait(Client& client) {
  ASSIGN_OR_RETURN(SystemStatus status, client.GetStatus());
  // Opened before the call: a pidfd never means another process.
  ASSIGN_OR_RETURN(base::ProcessIdentity identity, base::IdentifyProcess(status.pid));
  ASSIGN_OR_RETURN(base::Fd process, base::OpenProcess(identity));
  absl::Status stopped = client.Shutdown();
  // The process may end before its answer is through.
  if (!stopped.ok() && !absl::IsUnavailable(stopped)) return stopped;
  ASSIGN_OR_RETURN(bool ended, base::PollFd(process.get(), POLLIN, kEndTimeout));
  if (!ended) {
    return absl::DeadlineExceededError(
        absl::StrCat("container-apiserver (pid ", status.pid, ") does not end"));
  }
  return absl::OkStatus();
}

}  // namespace

int SystemStop(Invocation& call) {
  OptionParser parser(call, "Stops all containers, then the services.");
  parser.Example("container system stop", "Before an upgrade");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) {
    if (!absl::StartsWith(client.status().message(), kNotRunning)) return Fail(client.status());
    PrintLine(kNotRunning);
    return kSuccess;
  }
  if (const absl::Status status = StopAndWait(**client); !status.ok()) return Fail(status);
  PrintLine("container system is stopped");
  return kSuccess;
}

}  // namespace container::cli
