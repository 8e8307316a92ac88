#include "workloads/dockerfile/dockerfile.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <set>

#include "drivers/base/check.h"
#include "drivers/base/usage_error.h"
#include "workloads/dockerfile/lines.h"

namespace sbench {
namespace {

const std::map<std::string, InstructionKind>& keywords() {
  static const std::map<std::string, InstructionKind> known = {
      {"RUN", InstructionKind::run},         {"COPY", InstructionKind::copy},
      {"ADD", InstructionKind::add},         {"ENV", InstructionKind::env},
      {"WORKDIR", InstructionKind::workdir}, {"USER", InstructionKind::user},
      {"LABEL", InstructionKind::label},     {"CMD", InstructionKind::cmd},
      {"ENTRYPOINT", InstructionKind::entrypoint}, {"ARG", InstructionKind::arg}};
  return known;
}

std::string upper(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::toupper(c); });
  return text;
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

bool is_variable(const std::string& name) {
  return !name.empty() && std::isdigit(static_cast<unsigned char>(name.front())) == 0 &&
         std::all_of(name.begin(), name.end(),
                     [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
}

/// What a Dockerfile may come to with all variables replaced, and each step's arguments counted anew.
constexpr std::size_t kBytesMax = 16 << 20;

class Parser {
 public:
  Parser(const std::string& text, std::string file, const std::map<std::string, std::string>& arguments)
      : file_(std::move(file)), given_(arguments), lines_(split_dockerfile(text, file_)) {}

  Dockerfile parse() {
    for (const auto& line : lines_.lines) {
      line_ = line.number;
      const auto end = std::min(line.text.find_first_of(" \t"), line.text.size());
      const auto rest = std::min(line.text.find_first_not_of(" \t", end), line.text.size());
      take(upper(line.text.substr(0, end)), line.text.substr(rest));
    }
    if (made_.stages.empty()) {
      line_ = 1;
      fail("there is no FROM");
    }
    return std::move(made_);
  }

 private:
  [[noreturn]] void fail(const std::string& what) const { throw UsageError("{}:{}: {}", file_, line_, what); }
  [[nodiscard]] Complain complain() const {
    return [this](const std::string& what) { fail(what); };
  }

  /// Some lines of variables that hold each other can ask for more than a machine has.
  void spend(std::size_t bytes) {
    spent_ += bytes;
    if (spent_ > kBytesMax) {
      fail(fmt::format("with its variables replaced, the file is longer than {} MiB", kBytesMax >> 20));
    }
  }

  void take(const std::string& keyword, const std::string& rest) {
    if (keyword == "FROM") {
      return take_from(rest);
    }
    const auto found = keywords().find(keyword);
    if (found == keywords().end()) {
      fail(fmt::format("'{}' is not understood; sbench knows FROM, RUN, COPY, ADD, ENV, WORKDIR, USER, LABEL, CMD, "
                       "ENTRYPOINT and ARG", keyword.substr(0, 40)));
    }
    if (rest.empty()) {
      fail(keyword + " has no argument");
    }
    if (made_.stages.empty() && found->second != InstructionKind::arg) {
      fail(keyword + " stands before the first FROM");
    }
    Instruction made;
    made.kind = found->second;
    made.line = line_;
    switch (made.kind) {
      case InstructionKind::run:
      case InstructionKind::cmd:
      case InstructionKind::entrypoint:
        take_command(made, rest);
        break;
      case InstructionKind::copy:
      case InstructionKind::add:
        take_copy(made, rest);
        break;
      case InstructionKind::env:
      case InstructionKind::label:
        take_pairs(made, rest);
        break;
      case InstructionKind::workdir:
      case InstructionKind::user:
        made.words = {expanded(rest)};
        break;
      case InstructionKind::arg:
        take_argument(made, rest);
        break;
    }
    if (made.text.empty()) {
      made.text = fmt::format("{} {}", to_string(made.kind), fmt::join(made.words, " "));
    }
    spend(made.text.size());
    for (const auto& word : made.words) {
      spend(word.size());
    }
    if (!made_.stages.empty()) {
      made_.stages.back().instructions.push_back(std::move(made));
    }
  }

  /// FROM [--platform=P] image [AS name]
  void take_from(const std::string& rest) {
    auto words = split_words(rest, lines_.escape, complain());
    if (!words.empty() && words.front().starts_with("--platform=")) {
      words.erase(words.begin());
    }
    if ((words.size() != 1 && words.size() != 3) || (words.size() == 3 && upper(words[1]) != "AS") ||
        words.front().starts_with("--")) {
      fail("FROM wants an image, or an image AS a name");
    }
    BuildStage stage;
    stage.line = line_;
    stage.base = expand_word(words[0], lines_.escape, [this](const std::string& name) { return find(globals_, name); },
                             complain());
    if (stage.base.empty()) {
      fail("FROM's image is empty once its variables are expanded");
    }
    stage.base_stage = stage_named(stage.base);
    if (words.size() == 3) {
      stage.name = lower(words[2]);
      if (stage_named(stage.name) >= 0) {
        fail(fmt::format("a stage is called {} already", stage.name));
      }
    }
    made_.stages.push_back(std::move(stage));
    arguments_.clear();
    environment_.clear();
    inherit_environment(made_.stages.back().base_stage);
    environments_.push_back(environment_);
  }

  void inherit_environment(int stage) {
    if (stage >= 0) {
      environment_ = environments_[static_cast<std::size_t>(stage)];
      for (const auto& [name, value] : environment_) {
        spend(2 * (name.size() + value.size()));
      }
    }
  }

  [[nodiscard]] int stage_named(const std::string& name) const {
    for (std::size_t i = 0; i < made_.stages.size(); ++i) {
      if (!made_.stages[i].name.empty() && made_.stages[i].name == lower(name)) {
        return static_cast<int>(i);
      }
    }
    return -1;
  }

  void take_command(Instruction& made, const std::string& rest) {
    if (made.kind == InstructionKind::run && rest.starts_with("--")) {
      fail(fmt::format("RUN {} is not understood: a step's mounts, network and security are sbench's",
                       rest.substr(0, rest.find_first_of(" ="))));
    }
    if (auto words = exec_form(rest)) {
      made.exec_form = true;
      made.words = std::move(*words);
    } else {
      made.words = {rest};
    }
    made.text = fmt::format("{} {}", to_string(made.kind), rest);
    if (made.kind == InstructionKind::run && !arguments_.empty()) {
      made.arguments = arguments_;
      std::string values;
      for (const auto& [name, value] : arguments_) {
        spend(2 * (name.size() + value.size()));
        values += fmt::format(" {}={}", name, value);
      }
      made.text = fmt::format("|{}{} {}", arguments_.size(), values, made.text);
    }
  }

  void take_copy(Instruction& made, std::string rest) {
    static const std::set<std::string> kFlags = {"from", "chown", "chmod"};
    while (rest.starts_with("--")) {
      const auto end = std::min(rest.find_first_of(" \t"), rest.size());
      const std::string flag = rest.substr(2, end - 2);
      const auto equals = flag.find('=');
      const std::string name = flag.substr(0, equals);
      if (equals == std::string::npos || !kFlags.contains(name) ||
          (name == "from" && made.kind == InstructionKind::add)) {
        fail(fmt::format("{} --{} is not understood", to_string(made.kind), name));
      }
      made.flags[name] = expanded(flag.substr(equals + 1));
      if (const std::string& value = made.flags[name];
          name == "chmod" && (value.empty() || value.size() > 5 || value.find_first_not_of("01234567") != std::string::npos ||
                              std::stoul(value, nullptr, 8) > 07777)) {
        fail(fmt::format("--chmod={} is no octal mode", value));
      }
      rest.erase(0, std::min(rest.find_first_not_of(" \t", end), rest.size()));
    }
    auto words = exec_form(rest);
    made.exec_form = words.has_value();
    for (const auto& word : words ? *words : split_words(rest, lines_.escape, complain())) {
      made.words.push_back(expanded(word));
    }
    if (made.words.size() < 2) {
      fail(fmt::format("{} wants at least one source and a target", to_string(made.kind)));
    }
    for (std::size_t i = 0; i + 1 < made.words.size(); ++i) {
      if (made.kind == InstructionKind::add && made.words[i].find("://") != std::string::npos) {
        fail(fmt::format("ADD {}: nothing is fetched from a network; put the file beside the Dockerfile", made.words[i]));
      }
    }
    if (made.words.size() > 2 && !made.words.back().ends_with('/')) {
      fail(fmt::format("with several sources, the target {} must end in /", made.words.back()));
    }
    if (const auto from = made.flags.find("from"); from != made.flags.end()) {
      resolve_from(from->second);
    }
    made.text = to_string(made.kind);
    for (const auto& [name, value] : made.flags) {
      made.text += fmt::format(" --{}={}", name, value);
    }
    made.text += fmt::format(" {}", fmt::join(made.words, " "));
  }

  /// --from=NAME or NUMBER becomes the stage's number.
  void resolve_from(std::string& from) const {
    const bool number = !from.empty() && from.size() < 6 && std::all_of(from.begin(), from.end(), [](unsigned char c) {
      return std::isdigit(c) != 0;
    });
    const int stage = number ? std::stoi(from) : stage_named(from);
    if (stage < 0 || stage + 1 >= static_cast<int>(made_.stages.size())) {
      fail(fmt::format("--from={} is no earlier stage", from));
    }
    from = std::to_string(stage);
  }

  /// key=value …, or the old form: key value.
  void take_pairs(Instruction& made, const std::string& rest) {
    const auto words = split_words(rest, lines_.escape, complain());
    std::vector<std::pair<std::string, std::string>> pairs;
    if (words.front().find('=') == std::string::npos) {
      const auto end = std::min(rest.find_first_of(" \t"), rest.size());
      const auto start = rest.find_first_not_of(" \t", end);
      if (start == std::string::npos) {
        fail(fmt::format("{} wants NAME=VALUE", to_string(made.kind)));
      }
      pairs.emplace_back(rest.substr(0, end), expanded(rest.substr(start)));
    } else {
      for (const auto& word : words) {
        const auto equals = word.find('=');
        if (equals == std::string::npos || equals == 0) {
          fail(fmt::format("{} wants NAME=VALUE, not '{}'", to_string(made.kind), word));
        }
        pairs.emplace_back(expanded(word.substr(0, equals)), expanded(word.substr(equals + 1)));
      }
    }
    for (const auto& [name, value] : pairs) {
      made.words.push_back(fmt::format("{}={}", name, value));
    }
    if (made.kind == InstructionKind::env) {  // after all were expanded: one ENV does not see itself
      for (const auto& [name, value] : pairs) {
        if (!is_variable(name)) {
          fail(fmt::format("'{}' cannot be a variable's name", name));
        }
        environment_[name] = value;
      }
      environments_.back() = environment_;
    }
  }

  /// ARG NAME[=default]; before the first FROM it is for FROM lines and bare ARGs alone.
  void take_argument(Instruction& made, const std::string& rest) {
    for (const auto& word : split_words(rest, lines_.escape, complain())) {
      const auto equals = word.find('=');
      const std::string name = word.substr(0, equals);
      if (!is_variable(name)) {
        fail(fmt::format("'{}' cannot be a variable's name", name));
      }
      std::optional<std::string> value;
      if (equals != std::string::npos) {
        value = expanded(word.substr(equals + 1));
      } else if (!made_.stages.empty()) {
        value = find(globals_, name);
      }
      if (const auto given = given_.find(name); given != given_.end()) {
        value = given->second;
      }
      made.words.push_back(word);
      if (value.has_value()) {
        (made_.stages.empty() ? globals_ : arguments_)[name] = *value;
      }
    }
  }

  static std::optional<std::string> find(const std::map<std::string, std::string>& values, const std::string& name) {
    const auto found = values.find(name);
    return found == values.end() ? std::nullopt : std::optional(found->second);
  }

  /// ENV wins over ARG.
  [[nodiscard]] std::string expanded(const std::string& word) const {
    const Lookup lookup = [this](const std::string& name) {
      if (made_.stages.empty()) {
        return find(globals_, name);
      }
      const auto value = find(environment_, name);
      return value.has_value() ? value : find(arguments_, name);
    };
    return expand_word(word, lines_.escape, lookup, complain());
  }

  std::string file_;
  const std::map<std::string, std::string>& given_;
  DockerfileLines lines_;
  unsigned line_ = 0;
  std::size_t spent_ = 0;
  Dockerfile made_;
  std::map<std::string, std::string> globals_;      ///< ARG before FROM
  std::map<std::string, std::string> arguments_;    ///< ARG of this stage
  std::map<std::string, std::string> environment_;  ///< ENV of this stage
  std::vector<std::map<std::string, std::string>> environments_;  ///< of each stage so far
};

}  // namespace

bool makes_layer(InstructionKind kind) {
  return kind == InstructionKind::run || kind == InstructionKind::copy || kind == InstructionKind::add ||
         kind == InstructionKind::workdir;
}

const char* to_string(InstructionKind kind) {
  for (const auto& [word, each] : keywords()) {
    if (each == kind) {
      return word.c_str();
    }
  }
  SBENCH_CHECK(!"every kind has a keyword");
  return "";
}

std::vector<std::size_t> Dockerfile::needed_by(std::size_t wanted) const {
  std::set<std::size_t> needed = {wanted};
  for (std::size_t i = wanted + 1; i-- > 0;) {  // stages lean on earlier ones only
    if (!needed.contains(i)) {
      continue;
    }
    if (stages[i].base_stage >= 0) {
      needed.insert(static_cast<std::size_t>(stages[i].base_stage));
    }
    for (const auto& instruction : stages[i].instructions) {
      if (const auto from = instruction.flags.find("from"); from != instruction.flags.end()) {
        needed.insert(static_cast<std::size_t>(std::stoul(from->second)));
      }
    }
  }
  return {needed.begin(), needed.end()};
}

Dockerfile parse_dockerfile(const std::string& text, const std::string& file,
                            const std::map<std::string, std::string>& arguments) {
  return Parser(text, file, arguments).parse();
}

}  // namespace sbench
