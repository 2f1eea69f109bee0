// Parses a command's options and operands, and prints its help.
//
// The rules are those of getopt_long(3) and docker: short flags may be grouped (-it), values follow
// as the next word or after '=' (an empty one too: --entrypoint=), the last one of a repeated
// option wins unless it collects, `--` ends the options, options and operands mix. Where a Rest()
// is declared, options end with the last operand before it: all further words are the rest,
// untouched.
//
// (Not CLI11: it takes the next word as the value of `--option=`, and splits values in brackets.)
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "cli/app.h"

namespace container::cli {

class OptionParser {
 public:
  /// Takes the text of one option; an error becomes "Error: --cpus: <message>".
  using Setter = std::function<absl::Status(const std::string& value)>;

  /// `call` must outlive the parser; its `debug` is set by --debug.
  OptionParser(Invocation& call, absl::string_view summary) : call_(call), summary_(summary) {
    Flag("-h, --help", &help_, "Show this help");
    Flag("--debug", &call.debug, "Show what is called and how long it takes");
  }

  /// `names` as the help shows them: "-e, --env".
  void Flag(absl::string_view names, bool* target, absl::string_view help);
  void Value(absl::string_view names, absl::string_view placeholder, std::string* target,
             absl::string_view help);
  void Value(absl::string_view names, absl::string_view placeholder,
             std::optional<std::string>* target, absl::string_view help);
  /// A whole number from `least` on.
  void Value(absl::string_view names, absl::string_view placeholder, std::optional<int>* target,
             int least, absl::string_view help);
  /// May be repeated; collects.
  void Values(absl::string_view names, absl::string_view placeholder,
              std::vector<std::string>* target, absl::string_view help);
  void Value(absl::string_view names, absl::string_view placeholder, Setter setter,
             absl::string_view help);

  /// A required operand.
  void Operand(absl::string_view name, std::string* target, absl::string_view help);
  /// All further operands; at least `least`.
  void Operands(absl::string_view name, std::vector<std::string>* target, size_t least,
                absl::string_view help);
  /// All words behind the operands, whatever they look like.
  void Rest(absl::string_view name, std::vector<std::string>* target, absl::string_view help);

  void Example(absl::string_view command, absl::string_view what);

  /// Nothing if the command may go on; else the exit code: 0 after --help, 2 after wrong usage.
  std::optional<int> Parse();

  /// Prints "Error: `message`" and where the help is; returns 2.
  int WrongUsage(absl::string_view message) const;

  std::string Help() const;

 private:
  struct Option {
    std::vector<std::string> names;
    std::string placeholder;  // empty: a flag
    std::string help;
    bool* flag = nullptr;
    Setter setter;
  };
  struct OperandSlot {
    std::string name;
    std::string help;
    std::string* one = nullptr;
    std::vector<std::string>* many = nullptr;
    size_t least = 0;
    bool rest = false;
  };

  const Option* Find(absl::string_view name) const;
  absl::Status ParseWords();
  absl::Status ParseLong(const std::string& word, size_t& index);
  absl::Status ParseShort(const std::string& word, size_t& index);
  absl::Status UnknownOption(absl::string_view name) const;
  absl::Status TakeOperands(std::vector<std::string> operands, std::vector<std::string> rest);
  std::string Synopsis() const;
  size_t SingleOperands() const;
  bool HasRest() const { return !operands_.empty() && operands_.back().rest; }

  Invocation& call_;
  std::string summary_;
  bool help_ = false;
  std::vector<Option> options_;
  std::vector<OperandSlot> operands_;
  std::vector<std::pair<std::string, std::string>> examples_;
};

}  // namespace container::cli
