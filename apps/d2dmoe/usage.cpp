#include "command.h"
#include "d2dmoe/core/error.h"
#include "d2dmoe/io/json_file.h"

namespace d2dmoe::app {
namespace {

std::vector<std::string> command_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
    for (const std::string& name : option->get_snames()) names.push_back("-" + name);
  }
  return names;
}

std::string hint(const std::string& nearest, const std::string& help) {
  const std::string list = "`" + help + "` lists them";
  return nearest.empty() ? "Hint: " + list : "Hint: did you mean '" + nearest + "'? " + list;
}

/// CLI11's own text, on one line.
std::string plain(const CLI::ParseError& error) {
  std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

/// What the values of an option are, where CLI11 reads them as numbers; "" elsewhere.
std::string wanted(const CLI::Option& option) {
  const bool list = option.get_delimiter() != '\0';
  const std::string type = option.get_type_name();
  if (type == "INT") return list ? "whole numbers separated by commas" : "a whole number";
  if (type == "FLOAT") return list ? "numbers separated by commas" : "a number";
  return "";
}

/// The message for a number that is none; "" for other errors.
std::string number_message(const CLI::App& command, const CLI::ParseError& error, const std::string& place) {
  for (const CLI::Option* option : command.get_options()) {
    const std::string what = wanted(*option);
    if (what.empty()) continue;
    const std::string name = option->get_name();
    if (!plain(error).starts_with("Could not convert: " + name + " = ")) continue;
    return format("[{}] '{} {}': must be {}. Hint: `{} --help` shows what it takes", place, name,
                  io::printable(d2dmoe::join(option->results(), ",")), what, place);
  }
  return "";
}

}  // namespace

std::string usage_message(const CLI::App& app, const CLI::ParseError& error) {
  const auto chosen = app.get_subcommands();
  const CLI::App* command = chosen.empty() ? nullptr : chosen.front();
  const std::string place = command ? "d2dmoe " + command->get_name() : "d2dmoe";
  const std::string help = place + " --help";
  const auto unexpected = app.remaining(/*recurse=*/true);
  if (!command && !unexpected.empty() && !unexpected.front().starts_with('-')) {
    const auto& word = unexpected.front();
    return format("[d2dmoe] '{}': no such command. {}", io::printable(word),
                  hint(nearest_word(word, command_names(app)), help));
  }
  for (const std::string& whole : unexpected) {
    const std::string word = whole.substr(0, whole.find('='));
    if (word.size() < 2 || word[0] != '-') continue;
    auto known = option_names(app);
    if (command) {
      for (auto& name : option_names(*command)) known.push_back(std::move(name));
    }
    return format("[{}] '{}': no such option. {}", place, io::printable(word),
                  hint(nearest_word(word, known), help));
  }
  if (!command) return format("[d2dmoe] no command was given. {}", hint("", help));
  if (!unexpected.empty()) {
    return format("[{}] '{}': one argument too many. Hint: `{}` shows what it takes", place,
                  io::printable(unexpected.front()), help);
  }
  const std::string of_number = number_message(*command, error, place);
  if (!of_number.empty()) return of_number;
  return format("[{}] {}. Hint: `{}` shows what it takes", place, plain(error), help);
}

}  // namespace d2dmoe::app
