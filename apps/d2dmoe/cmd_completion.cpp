#include <iostream>
#include <memory>
#include <sstream>

#include "command.h"
#include "d2dmoe/bench/layer_shape.h"
#include "d2dmoe/config/names.h"

namespace d2dmoe::app {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const auto& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

std::vector<std::string> long_option_names(const CLI::App& command) {
  std::vector<std::string> names;
  for (const CLI::Option* option : command.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// Words that stand behind an option, where there are few.
std::string value_cases() {
  std::vector<std::string> rules;
  for (const auto& choice : config::kRules) rules.emplace_back(choice.name);
  std::vector<std::string> presets;
  for (const auto& shape : bench::presets()) presets.push_back(shape.name);
  return "    --device) values=\"auto cpu cuda\" ;;\n    --split) values=\"train validation test\" ;;\n    "
         "--rule) values=\"" +
         join(rules) + "\" ;;\n    --preset) values=\"" + join(presets) +
         "\" ;;\n    --mask) values=\"independent clustered hot\" ;;\n    --dtype) values=\"float32 bfloat16 "
         "float16\" ;;\n    completion) values=\"bash zsh fish\" ;;\n";
}

std::string bash_script(const CLI::App& root, const std::vector<const CLI::App*>& commands) {
  std::vector<std::string> names;
  std::ostringstream cases;
  for (const CLI::App* command : commands) {
    names.push_back(command->get_name());
    cases << "    " << command->get_name() << ") words=\"" << join(long_option_names(*command)) << "\" ;;\n";
  }
  std::ostringstream text;
  text << "# bash completion of d2dmoe: source <(d2dmoe completion bash)\n"
       << "_d2dmoe() {\n"
       << "  local current=${COMP_WORDS[COMP_CWORD]} words values=\n"
       << "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
       << "    COMPREPLY=($(compgen -W \"" << join(names) << " " << join(long_option_names(root))
       << "\" -- \"$current\")); return\n"
       << "  fi\n"
       << "  case ${COMP_WORDS[1]} in\n"
       << cases.str() << "  esac\n"
       << "  case ${COMP_WORDS[COMP_CWORD-1]} in\n"
       << value_cases() << "  esac\n"
       << "  if [ -n \"$values\" ]; then\n"
       << "    COMPREPLY=($(compgen -W \"$values\" -- \"$current\")); return\n"
       << "  fi\n"
       << "  case $current in\n"
       << "    -*) COMPREPLY=($(compgen -W \"$words\" -- \"$current\")) ;;\n"
       << "    *) COMPREPLY=($(compgen -f -- \"$current\")) ;;\n"
       << "  esac\n"
       << "}\n"
       << "complete -o filenames -F _d2dmoe d2dmoe\n";
  return text.str();
}

std::string zsh_script(const CLI::App& root, const std::vector<const CLI::App*>& commands) {
  return "# zsh completion of d2dmoe: source <(d2dmoe completion zsh)\nautoload -U bashcompinit && "
         "bashcompinit\n" +
         bash_script(root, commands);
}

std::string fish_script(const std::vector<const CLI::App*>& commands) {
  std::ostringstream text;
  text << "# fish completion of d2dmoe: d2dmoe completion fish | source\n";
  for (const CLI::App* command : commands) {
    const std::string& name = command->get_name();
    text << "complete -c d2dmoe -n __fish_use_subcommand -a " << name << " -d '" << command->get_description()
         << "'\n";
    for (const CLI::Option* option : command->get_options()) {
      for (const std::string& flag : option->get_lnames()) {
        text << "complete -c d2dmoe -n '__fish_seen_subcommand_from " << name << "' -l " << flag << "\n";
      }
    }
  }
  return text.str();
}

}  // namespace

void add_completion(CLI::App& app) {
  CLI::App* command = app.add_subcommand("completion", "Shell completion script for bash, zsh or fish");
  auto shell = std::make_shared<std::string>();
  command->add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->callback([=, root = &app] {
    const CLI::App* constant_root = root;
    const auto commands = constant_root->get_subcommands({});
    if (*shell == "bash") std::cout << bash_script(*root, commands);
    if (*shell == "zsh") std::cout << zsh_script(*root, commands);
    if (*shell == "fish") std::cout << fish_script(commands);
  });
}

}  // namespace d2dmoe::app
