#include "harness/command_tree.h"

#include <CLI/CLI.hpp>

#include "harness/plan.h"

namespace sbench {
namespace {

std::vector<std::string> option_names(const std::string& text) {
  std::vector<std::string> words;
  std::istringstream stream(text);
  for (std::string word; std::getline(stream, word, ',');) {
    words.push_back(word);
  }
  return words;
}

/// CLI11 appends a validator's description to the type: "TEXT:{html,markdown}".
std::vector<std::string> choices_of(const std::string& type_name) {
  const auto open = type_name.find(":{");
  const auto close = type_name.find('}', open);
  return open == std::string::npos || close == std::string::npos
             ? std::vector<std::string>{}
             : option_names(type_name.substr(open + 2, close - open - 2));
}

std::vector<std::string> known_words(const std::string& name) {
  std::vector<std::string> words;
  if (name == "--driver") {
    for (const auto& spec : driver_registry()) {
      words.push_back(spec.name);
    }
  } else if (name == "--workload") {
    for (const auto& spec : workload_registry()) {
      words.push_back(spec.name);
    }
  } else if (name == "--profile") {
    words = {"smoke", "quick", "standard", "full"};
  }
  return words;
}

OptionFacts option_facts(const CLI::Option& option) {
  OptionFacts facts;
  const std::string type_name = option.get_type_name();
  if (option.nonpositional()) {
    facts.names = option_names(option.get_name(false, true));
  }
  if (option.get_expected_max() > 0) {
    facts.value = option.nonpositional() && !type_name.empty() ? type_name.substr(0, type_name.find(':'))
                                                               : option.get_name(true, false);
    facts.choices = choices_of(type_name);
  }
  if (facts.choices.empty() && !facts.names.empty()) {
    facts.choices = known_words(facts.names.back());
  }
  facts.help = option.get_description();
  facts.default_value = option.get_default_str();
  facts.required = option.get_required();
  return facts;
}

CommandFacts command_facts(const CLI::App& app, std::vector<std::string> path) {
  CommandFacts facts;
  facts.path = std::move(path);
  facts.summary = app.get_description();
  for (const CLI::Option* option : app.get_options()) {
    if (!option->get_group().empty()) {
      facts.options.push_back(option_facts(*option));
    }
  }
  for (const CLI::App* below : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (!below->get_group().empty()) {
      std::vector<std::string> longer = facts.path;
      longer.push_back(below->get_name());
      facts.commands.push_back(command_facts(*below, std::move(longer)));
    }
  }
  return facts;
}

}  // namespace

CommandFacts command_tree(const CLI::App& program) { return command_facts(program, {}); }

}  // namespace sbench
