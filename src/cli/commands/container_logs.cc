#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "base/fd.h"
#include "base/units.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
namespace {

/// Puts the time before each line of a stream that comes in pieces.
class LineStamper {
 public:
  std::string Stamp(const LogChunk& chunk) {
    const std::string prefix =
        chunk.time_ns == 0 ? std::string()
                           : base::FormatTimestamp(base::TimeFromNanoseconds(chunk.time_ns)) + " ";
    std::string text;
    for (char c : chunk.data) {
      if (at_line_start_) text += prefix;
      text += c;
      at_line_start_ = c == '\n';
    }
    return text;
  }

 private:
  bool at_line_start_ = true;
};

}  // namespace

int ContainerLogs(Invocation& call) {
  bool follow = false;
  bool boot = false;
  bool timestamps = false;
  std::optional<int> lines;
  std::string id;
  OptionParser parser(call, "Shows what the first process of a container has written.");
  parser.Flag("-f, --follow", &follow, "Go on until it ends");
  parser.Value("-n, --tail", "LINES", &lines, 0, "Only the last lines");
  parser.Flag("--boot", &boot, "The console of its virtual machine instead");
  parser.Flag("--timestamps", &timestamps, "The time before each line");
  parser.Operand("CONTAINER", &id, "The container's id");
  parser.Example("container logs -n 20 -f web", "The last lines, and what comes");
  parser.Example("container logs --boot web", "How its kernel booted");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  LineStamper output;
  LineStamper error;
  const absl::Status status =
      (*client)->Logs(id, follow, lines ? *lines : -1, boot, [&](const LogChunk& chunk) {
        LineStamper& stamper = chunk.standard_error ? error : output;
        const std::string text = timestamps ? stamper.Stamp(chunk) : chunk.data;
        if (chunk.standard_error) return base::WriteAll(STDERR_FILENO, text).ok();
        Print(text);
        return !OutputFailed();
      });
  return status.ok() ? kSuccess : Fail(status);
}

}  // namespace container::cli
