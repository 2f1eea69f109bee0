#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "cli/client.h"
#include "cli/commands/commands.h"
#include "cli/options.h"
#include "cli/output/print.h"

namespace container::cli {
namespace {

/// "30s", "5m", "2h", "1d", or seconds; above 0.
absl::StatusOr<std::chrono::seconds> ParseSpan(const std::string& text) {
  int64_t unit = 1;
  std::string digits = text;
  if (!digits.empty() && (digits.back() < '0' || digits.back() > '9')) {
    switch (digits.back()) {
      case 's':
        unit = 1;
        break;
      case 'm':
        unit = 60;
        break;
      case 'h':
        unit = 3600;
        break;
      case 'd':
        unit = 86400;
        break;
      default:
        unit = 0;
    }
    digits.pop_back();
  }
  int64_t count = 0;
  constexpr int64_t kMostSeconds = int64_t{1} << 32;
  if (unit == 0 || !absl::SimpleAtoi(digits, &count) || count <= 0 || count > kMostSeconds / unit) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text, "' is not a span of time such as 30s, 5m, 2h or 1d"));
  }
  return std::chrono::seconds(count * unit);
}

}  // namespace

int SystemLogs(Invocation& call) {
  bool follow = false;
  std::chrono::seconds last(0);
  OptionParser parser(call, "Shows the logs of the services.");
  parser.Flag("-f, --follow", &follow, "Go on with what is written");
  parser.Value(
      "--last", "SPAN",
      [&last](const std::string& value) -> absl::Status {
        const absl::StatusOr<std::chrono::seconds> span = ParseSpan(value);
        if (!span.ok()) return span.status();
        last = *span;
        return absl::OkStatus();
      },
      "Only what is no older, such as 5m");
  parser.Example("container system logs --last 5m", "What just happened");
  parser.Example("container system logs -f", "What happens");
  if (std::optional<int> done = parser.Parse()) return *done;

  const absl::StatusOr<base::Paths> paths = base::Paths::FromEnvironment();
  if (!paths.ok()) return Fail(paths.status());
  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(*paths, call.debug);
  if (!client.ok()) {
    return Fail(
        WithHint(client.status(), absl::StrCat("Former logs are in ", paths->log_root(), ".")));
  }
  const absl::Status status = (*client)->SystemLogs(follow, last, [](const LogChunk& chunk) {
    Print(chunk.data);
    return !OutputFailed();
  });
  return status.ok() ? kSuccess : Fail(status);
}

}  // namespace container::cli
