#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/fd.h"
#include "base/status.h"
#include "cli/commands/commands.h"
#include "cli/output/print.h"
#include "cli/output/terminal.h"
#include "cli/run_options.h"

namespace container::cli {
namespace {

constexpr size_t kPasswordLimitBytes = 64 << 10;
constexpr char kInterrupt = 3;
constexpr char kEndOfInput = 4;
constexpr char kBackspace = 8;
constexpr char kDelete = 127;

/// One line from standard input.
absl::StatusOr<std::string> ReadLine() {
  std::string line;
  char c = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count, base::ReadSome(STDIN_FILENO, std::span(&c, 1)));
    if (count == 0 || c == '\n') return line;
    if (line.size() >= kPasswordLimitBytes)
      return absl::InvalidArgumentError("the line is too long");
    line.push_back(c);
  }
}

void Prompt(absl::string_view text) { base::WriteAll(STDERR_FILENO, text).IgnoreError(); }

/// One line from the terminal, which shows nothing of it.
absl::StatusOr<std::string> ReadHidden(absl::string_view prompt) {
  ASSIGN_OR_RETURN(const std::unique_ptr<TerminalGuard> raw, TerminalGuard::MakeRaw(STDIN_FILENO));
  Prompt(prompt);
  std::string line;
  char c = 0;
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count, base::ReadSome(STDIN_FILENO, std::span(&c, 1)));
    if (count == 0 || c == '\n' || c == '\r' || c == kEndOfInput) return line;
    if (c == kInterrupt) return absl::CancelledError("interrupted");
    if (c == kBackspace || c == kDelete) {
      if (!line.empty()) line.pop_back();
    } else if (line.size() < kPasswordLimitBytes) {
      line.push_back(c);
    }
  }
}

/// All of standard input, without the newline at its end.
absl::StatusOr<std::string> ReadPasswordInput() {
  std::string password;
  std::vector<char> buffer(4096);
  for (;;) {
    ASSIGN_OR_RETURN(const size_t count, base::ReadSome(STDIN_FILENO, buffer), "standard input");
    if (count == 0) break;
    password.append(buffer.data(), count);
    if (password.size() > kPasswordLimitBytes) {
      return absl::InvalidArgumentError("the password on standard input is too long");
    }
  }
  absl::string_view text = password;
  absl::ConsumeSuffix(&text, "\n");
  absl::ConsumeSuffix(&text, "\r");
  return std::string(text);
}

}  // namespace

int RegistryLoginCommand(Invocation& call) {
  FetchFlags fetch;
  std::string username;
  std::string registry;
  bool from_input = false;
  OptionParser parser(
      call, "Logs in to a registry, and keeps the login in a file that only you can read.");
  parser.Value("-u, --username", "NAME", &username, "Asked for if not given");
  parser.Flag("--password-stdin", &from_input, "Take the password from standard input");
  fetch.DeclareScheme(parser);
  parser.Operand("REGISTRY", &registry, "Such as ghcr.io, docker.io or localhost:5000");
  parser.Example("container registry login ghcr.io", "Asks for name and password");
  parser.Example("container registry login -u me --password-stdin ghcr.io < token", "In a script");
  if (std::optional<int> done = parser.Parse()) return *done;
  const bool has_terminal = ::isatty(STDIN_FILENO) != 0;
  if (from_input && username.empty()) {
    return parser.WrongUsage("--password-stdin needs --username");
  }
  if (!from_input && !has_terminal) {
    return parser.WrongUsage("there is no terminal to ask at: use --username and --password-stdin");
  }

  const absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(call.debug);
  if (!client.ok()) return Fail(client.status());
  absl::StatusOr<std::string> password;
  if (from_input) {
    password = ReadPasswordInput();
  } else {
    if (username.empty()) {
      Prompt("Username: ");
      absl::StatusOr<std::string> line = ReadLine();
      if (!line.ok()) return Fail(line.status());
      username = *std::move(line);
    }
    password = ReadHidden("Password: ");
    Prompt("\n");
  }
  if (!password.ok()) return Fail(password.status());
  if (username.empty() || password->empty()) {
    return Fail(absl::InvalidArgumentError("the user name or the password is empty"));
  }
  const absl::StatusOr<std::string> name =
      (*client)->Login(registry, username, *password, fetch.scheme);
  if (!name.ok()) return Fail(name.status());
  PrintLine(absl::StrCat("Logged in to ", *name));
  return kSuccess;
}

}  // namespace container::cli
