#include "cli/app.h"

#include <algorithm>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/version.h"
#include "cli/commands/commands.h"
#include "cli/output/print.h"
#include "cli/suggest.h"

namespace container::cli {
namespace {

using Words = std::vector<std::string>;

Words Split(absl::string_view text) { return absl::StrSplit(text, ' ', absl::SkipEmpty()); }

/// All spellings of a command: its own and those with an alias for the last word.
std::vector<Words> Spellings(const Command& command) {
  std::vector<Words> spellings = {Split(command.words)};
  for (const std::string& alias : Split(command.aliases)) {
    Words spelling = spellings[0];
    spelling.back() = alias;
    spellings.push_back(std::move(spelling));
  }
  return spellings;
}

/// Aliases of groups.
std::string GroupName(const std::string& word) {
  if (word == "i") return "image";
  if (word == "r") return "registry";
  if (word == "s") return "system";
  return word;
}

const Command* FindCommand(const Words& words, size_t& length) {
  const Command* best = nullptr;
  length = 0;
  for (const Command& command : Commands()) {
    for (const Words& spelling : Spellings(command)) {
      if (spelling.size() > length && spelling.size() <= words.size() &&
          std::equal(spelling.begin(), spelling.end(), words.begin())) {
        best = &command;
        length = spelling.size();
      }
    }
  }
  return best;
}

/// What may follow `prefix` ("", "image", "system kernel").
std::vector<std::string> NextWords(const Words& prefix) {
  std::set<std::string> next;
  for (const Command& command : Commands()) {
    for (const Words& spelling : Spellings(command)) {
      if (spelling.size() > prefix.size() &&
          std::equal(prefix.begin(), prefix.end(), spelling.begin())) {
        next.insert(spelling[prefix.size()]);
      }
    }
  }
  return {next.begin(), next.end()};
}

void AppendCommands(std::string& text, const std::vector<const Command*>& commands,
                    size_t skipped_words) {
  for (const Command* command : commands) {
    Words words = Split(command->words);
    std::string left = absl::StrJoin(words.begin() + skipped_words, words.end(), " ");
    for (const std::string& alias : Split(command->aliases)) absl::StrAppend(&left, ", ", alias);
    left.resize(std::max<size_t>(left.size() + 2, 20), ' ');
    absl::StrAppend(&text, "  ", left, command->summary, "\n");
  }
}

std::string GlobalHelp() {
  std::string text =
      "Runs containers, each in a lightweight virtual machine of its own\n\n"
      "Usage: container [--debug] COMMAND ...\n";
  const std::pair<const char*, const char*> groups[] = {
      {"", "Containers"}, {"image", "Images"}, {"registry", "Registries"}, {"system", "System"}};
  for (const auto& [group, title] : groups) {
    std::vector<const Command*> commands;
    for (const Command& command : Commands()) {
      const Words words = Split(command.words);
      if (absl::string_view(group).empty() ? words.size() == 1 : words[0] == group) {
        commands.push_back(&command);
      }
    }
    absl::StrAppend(&text, "\n", title, ":\n");
    AppendCommands(text, commands, 0);
  }
  absl::StrAppend(&text,
                  "\nOptions:\n"
                  "  -h, --help          Show this help\n"
                  "      --version       Show the version\n"
                  "      --debug         Show what is called and how long it takes\n"
                  "\nExamples:\n"
                  "  # Start the services, once after login\n"
                  "  container system start\n"
                  "  # Run a command in a new container and delete it afterwards\n"
                  "  container run --rm alpine echo hello\n"
                  "  # A shell in a container\n"
                  "  container run -it --name box alpine sh\n"
                  "\nSee 'container COMMAND --help' for a command's options.\n");
  return text;
}

std::string GroupHelp(const Words& prefix) {
  const std::string group = absl::StrJoin(prefix, " ");
  std::vector<const Command*> commands;
  for (const Command& command : Commands()) {
    const Words words = Split(command.words);
    if (words.size() > prefix.size() && std::equal(prefix.begin(), prefix.end(), words.begin())) {
      commands.push_back(&command);
    }
  }
  std::string text = absl::StrCat("Usage: container ", group, " COMMAND ...\n\nCommands:\n");
  AppendCommands(text, commands, prefix.size());
  absl::StrAppend(&text, "\nExamples:\n  # The options of a command of this group\n  container ",
                  commands.front()->words, " --help\n");
  return text;
}

/// `words` name no command: help for a group, or an error.
int OnNoCommand(const Words& words) {
  Words prefix;
  for (const std::string& word : words) {
    const std::vector<std::string> next = NextWords(prefix);
    if (std::find(next.begin(), next.end(), word) != next.end()) {
      prefix.push_back(word);
      continue;
    }
    const std::string group = absl::StrJoin(prefix, " ");
    if (word == "-h" || word == "--help") {
      Print(prefix.empty() ? GlobalHelp() : GroupHelp(prefix));
      return kSuccess;
    }
    const std::string place =
        prefix.empty() ? std::string("container") : absl::StrCat("container ", group);
    PrintError(absl::StrCat("unknown ", absl::StartsWith(word, "-") ? "option" : "command", " '",
                            word, "' for '", place, "'", DidYouMean(word, next)));
    PrintHint(absl::StrCat("See '", place, " --help'."));
    return kWrongUsage;
  }
  // A group alone.
  PrintError(absl::StrCat("container ", absl::StrJoin(prefix, " "), ": a command is missing"));
  PrintHint(GroupHelp(prefix));
  return kWrongUsage;
}

int Help(const Words& words, bool debug);

int Dispatch(Words words, bool debug) {
  if (words.empty()) {
    Print(GlobalHelp());
    return kWrongUsage;
  }
  if (words[0] == "help") return Help(Words(words.begin() + 1, words.end()), debug);
  words[0] = GroupName(words[0]);
  size_t length = 0;
  const Command* command = FindCommand(words, length);
  if (command == nullptr) return OnNoCommand(words);
  Invocation call;
  call.command = absl::StrCat("container ", command->words);
  call.words.assign(words.begin() + length, words.end());
  call.debug = debug;
  return command->run(call);
}

int Help(const Words& words, bool debug) {
  if (words.empty()) {
    Print(GlobalHelp());
    return kSuccess;
  }
  Words with_help = words;
  with_help.push_back("--help");
  return Dispatch(std::move(with_help), debug);
}

}  // namespace

const std::vector<Command>& Commands() {
  static const auto& commands = *new std::vector<Command>{
      {"run", "", "Run a command in a new container", &ContainerRun},
      {"create", "", "Create a container without starting it", &ContainerCreate},
      {"start", "", "Start containers", &ContainerStart},
      {"stop", "", "Stop containers", &ContainerStop},
      {"kill", "", "Send a signal to containers", &ContainerKill},
      {"restart", "", "Stop containers and start them again", &ContainerRestart},
      {"wait", "", "Wait for containers to end and print their statuses", &ContainerWait},
      {"delete", "rm", "Delete containers", &ContainerDelete},
      {"prune", "", "Delete all containers that don't run", &ContainerPrune},
      {"list", "ls ps", "List containers", &ContainerList},
      {"inspect", "", "Show all about containers", &ContainerInspect},
      {"logs", "", "Show what a container has written", &ContainerLogs},
      {"exec", "", "Run a command in a running container", &ContainerExec},
      {"image pull", "", "Fetch an image from a registry", &ImagePull},
      {"image push", "", "Send an image to its registry", &ImagePush},
      {"image load", "", "Load images from an archive", &ImageLoad},
      {"image save", "", "Save images to an archive", &ImageSave},
      {"image list", "ls", "List images", &ImageList},
      {"image inspect", "", "Show all about images", &ImageInspect},
      {"image history", "", "Show how an image was made", &ImageHistory},
      {"image tag", "", "Give an image another name", &ImageTag},
      {"image delete", "rm", "Delete images", &ImageDelete},
      {"image prune", "", "Delete images that nobody needs", &ImagePrune},
      {"registry login", "", "Log in to a registry", &RegistryLoginCommand},
      {"registry logout", "", "Forget the login at a registry", &RegistryLogout},
      {"registry list", "ls", "List the logins", &RegistryList},
      {"system start", "", "Start the services", &SystemStart},
      {"system stop", "", "Stop all containers and the services", &SystemStop},
      {"system status", "", "Show whether the services run, and how", &SystemStatusCommand},
      {"system version", "", "Show the versions of all programs", &SystemVersion},
      {"system logs", "", "Show the logs of the services", &SystemLogs},
      {"system df", "", "Show what takes the disk", &SystemDf},
      {"system prune", "", "Delete what nobody needs", &SystemPrune},
      {"system doctor", "", "Look whether all is well", &SystemDoctor},
      {"system kernel set", "", "Install the kernel of new containers", &SystemKernelSet},
  };
  return commands;
}

int Main(const std::vector<std::string>& arguments) {
  size_t next = 0;
  bool debug = false;
  for (; next < arguments.size() && absl::StartsWith(arguments[next], "-"); ++next) {
    const std::string& word = arguments[next];
    if (word == "--debug") {
      debug = true;
    } else if (word == "--version") {
      PrintLine(
          absl::StrCat("container CLI version ", base::kVersion, " (commit ", base::kCommit, ")"));
      return OutputFailed() ? kFailure : kSuccess;
    } else if (word == "-h" || word == "--help") {
      Print(GlobalHelp());
      return OutputFailed() ? kFailure : kSuccess;
    } else {
      PrintError(absl::StrCat("unknown option '", word, "'",
                              DidYouMean(word, {"--help", "--version", "--debug"})));
      PrintHint("See 'container --help'.");
      return kWrongUsage;
    }
  }
  const int code = Dispatch(Words(arguments.begin() + next, arguments.end()), debug);
  return code == kSuccess && OutputFailed() ? kFailure : code;
}

}  // namespace container::cli
