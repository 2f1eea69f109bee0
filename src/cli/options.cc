#include "cli/options.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "cli/output/print.h"
#include "cli/suggest.h"

namespace container::cli {
namespace {

std::vector<std::string> SplitNames(absl::string_view names) {
  return absl::StrSplit(names, ", ", absl::SkipEmpty());
}

absl::StatusOr<bool> ParseBoolean(absl::string_view text) {
  if (text == "true" || text == "1") return true;
  if (text == "false" || text == "0") return false;
  return absl::InvalidArgumentError(absl::StrCat("'", text, "' is neither true nor false"));
}

/// Breaks `text` into lines of at most `width`, each but the first indented by `indent`.
std::string Wrapped(absl::string_view text, size_t indent, size_t width) {
  std::string result;
  size_t column = indent;
  for (absl::string_view word : absl::StrSplit(text, ' ')) {
    if (column > indent && column + 1 + word.size() > width) {
      absl::StrAppend(&result, "\n", std::string(indent, ' '));
      column = indent;
    } else if (column > indent) {
      result += ' ';
      ++column;
    }
    absl::StrAppend(&result, word);
    column += word.size();
  }
  return result;
}

}  // namespace

void OptionParser::Flag(absl::string_view names, bool* target, absl::string_view help) {
  Option option;
  option.names = SplitNames(names);
  option.help = std::string(help);
  option.flag = target;
  options_.push_back(std::move(option));
}

void OptionParser::Value(absl::string_view names, absl::string_view placeholder, Setter setter,
                         absl::string_view help) {
  Option option;
  option.names = SplitNames(names);
  option.placeholder = std::string(placeholder);
  option.help = std::string(help);
  option.setter = std::move(setter);
  options_.push_back(std::move(option));
}

void OptionParser::Value(absl::string_view names, absl::string_view placeholder,
                         std::string* target, absl::string_view help) {
  Value(
      names, placeholder,
      [target](const std::string& value) {
        *target = value;
        return absl::OkStatus();
      },
      help);
}

void OptionParser::Value(absl::string_view names, absl::string_view placeholder,
                         std::optional<std::string>* target, absl::string_view help) {
  Value(
      names, placeholder,
      [target](const std::string& value) {
        *target = value;
        return absl::OkStatus();
      },
      help);
}

void OptionParser::Value(absl::string_view names, absl::string_view placeholder,
                         std::optional<int>* target, int least, absl::string_view help) {
  Value(
      names, placeholder,
      [target, least](const std::string& value) -> absl::Status {
        int number = 0;
        if (!absl::SimpleAtoi(value, &number) || number < least) {
          return absl::InvalidArgumentError(
              absl::StrCat("'", value, "' is not a whole number from ", least, " on"));
        }
        *target = number;
        return absl::OkStatus();
      },
      help);
}

void OptionParser::Values(absl::string_view names, absl::string_view placeholder,
                          std::vector<std::string>* target, absl::string_view help) {
  Value(
      names, placeholder,
      [target](const std::string& value) {
        target->push_back(value);
        return absl::OkStatus();
      },
      help);
}

void OptionParser::Operand(absl::string_view name, std::string* target, absl::string_view help) {
  OperandSlot slot;
  slot.name = std::string(name);
  slot.help = std::string(help);
  slot.one = target;
  slot.least = 1;
  operands_.push_back(std::move(slot));
}

void OptionParser::Operands(absl::string_view name, std::vector<std::string>* target, size_t least,
                            absl::string_view help) {
  OperandSlot slot;
  slot.name = std::string(name);
  slot.help = std::string(help);
  slot.many = target;
  slot.least = least;
  operands_.push_back(std::move(slot));
}

void OptionParser::Rest(absl::string_view name, std::vector<std::string>* target,
                        absl::string_view help) {
  Operands(name, target, 0, help);
  operands_.back().rest = true;
}

void OptionParser::Example(absl::string_view command, absl::string_view what) {
  examples_.emplace_back(command, what);
}

const OptionParser::Option* OptionParser::Find(absl::string_view name) const {
  for (const Option& option : options_) {
    for (const std::string& known : option.names) {
      if (known == name) return &option;
    }
  }
  return nullptr;
}

size_t OptionParser::SingleOperands() const {
  return std::count_if(operands_.begin(), operands_.end(),
                       [](const OperandSlot& slot) { return slot.one != nullptr; });
}

absl::Status OptionParser::UnknownOption(absl::string_view name) const {
  std::vector<std::string> known;
  for (const Option& option : options_) {
    for (const std::string& candidate : option.names) {
      if (absl::StartsWith(candidate, "--")) known.push_back(candidate.substr(2));
    }
  }
  std::string nearest;
  if (absl::StartsWith(name, "--")) nearest = Nearest(name.substr(2), known);
  return absl::InvalidArgumentError(
      absl::StrCat("unknown option '", name, "'",
                   nearest.empty() ? "" : absl::StrCat(": did you mean '--", nearest, "'?")));
}

absl::Status OptionParser::ParseLong(const std::string& word, size_t& index) {
  const size_t equals = word.find('=');
  const std::string name = word.substr(0, equals);
  const Option* option = Find(name);
  if (option == nullptr) return UnknownOption(name);
  if (option->flag != nullptr) {
    *option->flag = true;
    if (equals != std::string::npos) {
      ASSIGN_OR_RETURN(*option->flag, ParseBoolean(word.substr(equals + 1)), name);
    }
    return absl::OkStatus();
  }
  if (equals != std::string::npos) {
    RETURN_IF_ERROR(option->setter(word.substr(equals + 1)), name);
    return absl::OkStatus();
  }
  if (++index >= call_.words.size()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", option->placeholder, " is missing"));
  }
  RETURN_IF_ERROR(option->setter(call_.words[index]), name);
  return absl::OkStatus();
}

absl::Status OptionParser::ParseShort(const std::string& word, size_t& index) {
  for (size_t i = 1; i < word.size(); ++i) {
    const std::string name = {'-', word[i]};
    const Option* option = Find(name);
    if (option == nullptr) {
      // "-rm" is more likely "--rm" than a group.
      const Option* meant = i == 1 && word.size() > 2 ? Find("-" + word) : nullptr;
      if (meant != nullptr) {
        return absl::InvalidArgumentError(
            absl::StrCat("unknown option '", word, "': did you mean '-", word, "'?"));
      }
      return UnknownOption(name);
    }
    if (option->flag != nullptr) {
      *option->flag = true;
      continue;
    }
    std::string value = word.substr(i + 1);
    if (!value.empty()) {
      if (value[0] == '=') value.erase(0, 1);
    } else if (++index < call_.words.size()) {
      value = call_.words[index];
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": ", option->placeholder, " is missing"));
    }
    RETURN_IF_ERROR(option->setter(value), name);
    return absl::OkStatus();
  }
  return absl::OkStatus();
}

absl::Status OptionParser::ParseWords() {
  std::vector<std::string> operands;
  std::vector<std::string> rest;
  bool options_ended = false;
  for (size_t i = 0; i < call_.words.size(); ++i) {
    if (HasRest() && operands.size() == SingleOperands()) {
      rest.assign(call_.words.begin() + i, call_.words.end());
      break;
    }
    const std::string& word = call_.words[i];
    if (options_ended || word.size() < 2 || word[0] != '-') {
      operands.push_back(word);
    } else if (word == "--") {
      options_ended = true;
    } else if (word[1] == '-') {
      RETURN_IF_ERROR(ParseLong(word, i));
    } else {
      RETURN_IF_ERROR(ParseShort(word, i));
    }
  }
  if (help_) return absl::OkStatus();
  return TakeOperands(std::move(operands), std::move(rest));
}

absl::Status OptionParser::TakeOperands(std::vector<std::string> operands,
                                        std::vector<std::string> rest) {
  size_t next = 0;
  for (const OperandSlot& slot : operands_) {
    if (slot.rest) {
      *slot.many = std::move(rest);
      continue;
    }
    if (operands.size() - next < slot.least) {
      return absl::InvalidArgumentError(absl::StrCat(slot.name, " is missing"));
    }
    if (slot.one != nullptr) {
      *slot.one = operands[next++];
      if (slot.one->empty()) {
        return absl::InvalidArgumentError(absl::StrCat(slot.name, " is empty"));
      }
    } else {
      slot.many->assign(operands.begin() + next, operands.end());
      next = operands.size();
    }
  }
  if (next < operands.size()) {
    return absl::InvalidArgumentError(absl::StrCat("unexpected argument '", operands[next], "'"));
  }
  return absl::OkStatus();
}

std::optional<int> OptionParser::Parse() {
  const absl::Status status = ParseWords();
  if (help_) {
    Print(Help());
    return kSuccess;
  }
  if (!status.ok()) return WrongUsage(status.message());
  return std::nullopt;
}

int OptionParser::WrongUsage(absl::string_view message) const {
  PrintError(message);
  PrintHint(absl::StrCat("Usage: ", Synopsis(), "\nSee '", call_.command, " --help'."));
  return kWrongUsage;
}

std::string OptionParser::Synopsis() const {
  std::string synopsis = absl::StrCat(call_.command, " [options]");
  for (const OperandSlot& slot : operands_) {
    const char* dots = slot.many != nullptr ? "..." : "";
    absl::StrAppend(&synopsis, slot.least == 0 ? absl::StrCat(" [", slot.name, dots, "]")
                                               : absl::StrCat(" ", slot.name, dots));
  }
  return synopsis;
}

std::string OptionParser::Help() const {
  constexpr size_t kWidth = 100;
  std::vector<std::pair<std::string, std::string>> rows;
  for (const Option& option : options_) {
    std::string left = absl::StrJoin(option.names, ", ");
    if (absl::StartsWith(left, "--")) left = "    " + left;
    if (!option.placeholder.empty()) absl::StrAppend(&left, " ", option.placeholder);
    rows.emplace_back(left, option.help);
  }
  // Help and debug, declared first, are read last.
  std::rotate(rows.begin(), rows.begin() + 2, rows.end());
  size_t column = 0;
  for (const auto& row : rows) column = std::max(column, row.first.size());
  for (const OperandSlot& slot : operands_) column = std::max(column, slot.name.size());
  column = std::min<size_t>(column, 34) + 4;

  const auto append = [&](std::string& text, const std::string& left, const std::string& right) {
    std::string line = "  " + left;
    if (line.size() + 2 > column) {
      absl::StrAppend(&text, line, "\n");
      line.clear();
    }
    line.resize(column, ' ');
    absl::StrAppend(&text, line, Wrapped(right, column, kWidth), "\n");
  };
  std::string text = absl::StrCat(summary_, "\n\nUsage: ", Synopsis(), "\n");
  if (!operands_.empty()) {
    absl::StrAppend(&text, "\nArguments:\n");
    for (const OperandSlot& slot : operands_) append(text, slot.name, slot.help);
  }
  absl::StrAppend(&text, "\nOptions:\n");
  for (const auto& [left, right] : rows) append(text, left, right);
  if (!examples_.empty()) {
    absl::StrAppend(&text, "\nExamples:\n");
    for (const auto& [command, what] : examples_) {
      absl::StrAppend(&text, "  # ", what, "\n  ", command, "\n");
    }
  }
  return text;
}

}  // namespace container::cli
