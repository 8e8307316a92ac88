// completion.cpp: completion scripts for bash, zsh and fish, from the command tree.
#include <fmt/ranges.h>

#include <functional>

#include "harness/command_tree.h"

namespace sbench {
namespace {

using fmt::format;

void visit(const CommandFacts& command, const std::function<void(const CommandFacts&)>& see) {
  see(command);
  for (const auto& below : command.commands) {
    visit(below, see);
  }
}

std::string place(const CommandFacts& command) {
  return command.path.empty() ? "sbench" : format("sbench {}", fmt::join(command.path, " "));
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// What may follow at a place: commands and option names.
std::vector<std::string> words_at(const CommandFacts& command) {
  std::vector<std::string> words;
  for (const auto& below : command.commands) {
    words.push_back(below.path.back());
  }
  for (const auto& option : command.options) {
    words.insert(words.end(), option.names.begin(), option.names.end());
  }
  return words;
}

/// The steps from a place to the commands below it, as patterns of a shell's `case`.
std::string steps(const CommandFacts& program) {
  std::vector<std::string> patterns;
  visit(program, [&](const CommandFacts& command) {
    if (!command.path.empty()) {
      patterns.push_back(format("\"{}\"", place(command)));
    }
  });
  return format("{}", fmt::join(patterns, "|"));
}

std::string bash(const CommandFacts& program) {
  std::string values;
  std::string words;
  visit(program, [&](const CommandFacts& command) {
    for (const auto& option : command.options) {
      if (option.positional() || option.value.empty()) {
        continue;
      }
      std::vector<std::string> patterns;
      for (const auto& name : option.names) {
        patterns.push_back(format("\"{} {}\"", place(command), name));
      }
      values += option.choices.empty()
                    ? format("    {}) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", fmt::join(patterns, "|"))
                    : format("    {}) COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")); return ;;\n",
                             fmt::join(patterns, "|"), fmt::join(option.choices, " "));
    }
    words += format("    \"{}\") COMPREPLY=($(compgen -W \"{}\" -- \"$cur\")) ;;\n", place(command),
                    fmt::join(words_at(command), " "));
  });
  return format(R"(# bash completion for sbench, made by `sbench completion bash`
_sbench() {{
  local cur=${{COMP_WORDS[COMP_CWORD]}} prev=${{COMP_WORDS[COMP_CWORD-1]}} place=sbench i
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "$place ${{COMP_WORDS[i]}}" in
      {}) place="$place ${{COMP_WORDS[i]}}" ;;
    esac
  done
  COMPREPLY=()
  case "$place $prev" in
{}  esac
  case "$place" in
{}  esac
  [ ${{#COMPREPLY[@]}} -gt 0 ] || COMPREPLY=($(compgen -f -- "$cur"))
}}
complete -o filenames -F _sbench sbench
)",
                steps(program), values, words);
}

/// 'name:description' of _describe.
std::string zsh_item(const std::string& name, const std::string& help) {
  return format("'{}:{}'", replaced(name, ":", "\\:"), replaced(replaced(help, "'", "'\\''"), ":", "\\:"));
}

std::string zsh(const CommandFacts& program) {
  std::string values;
  std::string words;
  visit(program, [&](const CommandFacts& command) {
    std::vector<std::string> commands;
    std::vector<std::string> options;
    for (const auto& below : command.commands) {
      commands.push_back(zsh_item(below.path.back(), below.summary));
    }
    for (const auto& option : command.options) {
      for (const auto& name : option.names) {
        options.push_back(zsh_item(name, option.help));
        if (!option.value.empty()) {
          values += format("    (\"{} {}\") {}; return ;;\n", place(command), name,
                           option.choices.empty() ? "_files" : format("compadd -- {}", fmt::join(option.choices, " ")));
        }
      }
    }
    words += format("    (\"{}\") commands=({}); options=({}) ;;\n", place(command), fmt::join(commands, " "),
                    fmt::join(options, " "));
  });
  return format(R"(#compdef sbench
# zsh completion for sbench, made by `sbench completion zsh`
_sbench() {{
  local place=sbench i
  local -a commands options
  for ((i = 2; i < CURRENT; i++)); do
    case "$place ${{words[i]}}" in
      ({}) place="$place ${{words[i]}}" ;;
    esac
  done
  case "$place ${{words[CURRENT-1]}}" in
{}  esac
  case "$place" in
{}  esac
  (( ${{#commands}} )) && _describe command commands
  if [[ "${{words[CURRENT]}}" == -* ]]; then _describe -o option options; else _files; fi
}}
_sbench "$@"
)",
                steps(program), values, words);
}

std::string fish_quoted(const std::string& text) { return "'" + replaced(replaced(text, "\\", "\\\\"), "'", "\\'") + "'"; }

/// The condition under which the words of `command` are offered.
std::string fish_condition(const CommandFacts& command) {
  std::vector<std::string> parts;
  for (const auto& word : command.path) {
    parts.push_back("__fish_seen_subcommand_from " + word);
  }
  if (!command.commands.empty()) {
    std::vector<std::string> below;
    for (const auto& each : command.commands) {
      below.push_back(each.path.back());
    }
    parts.push_back(format("not __fish_seen_subcommand_from {}", fmt::join(below, " ")));
  }
  return format("{}", fmt::join(parts, "; and "));
}

std::string fish(const CommandFacts& program) {
  std::string lines = "# fish completion for sbench, made by `sbench completion fish`\n";
  visit(program, [&](const CommandFacts& command) {
    const std::string start = format("complete -c sbench -n {}", fish_quoted(fish_condition(command)));
    for (const auto& below : command.commands) {
      lines += format("{} -f -a {} -d {}\n", start, below.path.back(), fish_quoted(below.summary));
    }
    for (const auto& option : command.options) {
      if (option.positional()) {
        continue;
      }
      std::string names;
      for (const auto& name : option.names) {
        names += name.starts_with("--") ? format(" -l {}", name.substr(2)) : format(" -s {}", name.substr(1));
      }
      const std::string value = option.value.empty()     ? ""
                                : option.choices.empty() ? " -r"
                                                         : format(" -x -a {}", fish_quoted(format("{}", fmt::join(option.choices, " "))));
      lines += format("{}{}{} -d {}\n", start, names, value, fish_quoted(option.help));
    }
  });
  return lines;
}

}  // namespace

std::string completion_script(const CommandFacts& program, const std::string& shell) {
  return shell == "bash" ? bash(program) : shell == "zsh" ? zsh(program) : fish(program);
}

}  // namespace sbench
