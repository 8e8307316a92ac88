#include "workloads/dockerfile/lines.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "drivers/base/usage_error.h"

namespace sbench {
namespace {

constexpr const char* kBlanks = " \t\r";

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(kBlanks);
  return first == std::string::npos ? std::string() : text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

/// A word that is longer when its variables are replaced could be no program's argument or variable (MAX_ARG_STRLEN).
constexpr std::size_t kWordBytesMax = std::size_t{128} * 1024;
constexpr unsigned kNestingMax = 32;

bool is_name(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// "# escape=`" before anything else.
std::optional<std::string> directive(const std::string& line) {
  const std::string text = trimmed(line);
  if (text.empty() || text.front() != '#') {
    return std::nullopt;
  }
  const auto equals = text.find('=');
  if (equals == std::string::npos) {
    return std::nullopt;
  }
  std::string name = trimmed(text.substr(1, equals - 1));
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  return name == "escape" ? std::optional(trimmed(text.substr(equals + 1))) : std::nullopt;
}

/// Expands one word from left to right.
class WordExpander {
 public:
  WordExpander(const std::string& word, char escape, const Lookup& lookup, const Complain& complain, unsigned depth = 0)
      : word_(word), escape_(escape), lookup_(lookup), complain_(complain), depth_(depth) {
    if (depth > kNestingMax) {
      complain_(fmt::format("${{}} within each other more than {} times", kNestingMax));
    }
  }

  std::string expand() {
    std::string out;
    char quote = 0;
    while (at_ < word_.size()) {
      const char c = word_[at_];
      if (quote == '\'') {
        ++at_;
        if (c == '\'') {
          quote = 0;
        } else {
          out += c;
        }
      } else if (c == quote && quote != 0) {
        ++at_;
        quote = 0;
      } else if (quote == 0 && (c == '\'' || c == '"')) {
        ++at_;
        quote = c;
      } else if (c == escape_ && at_ + 1 < word_.size()) {
        out += word_[at_ + 1];
        at_ += 2;
      } else if (c == '$') {
        out += variable();
      } else {
        ++at_;
        out += c;
      }
      if (out.size() > kWordBytesMax) {
        complain_(fmt::format("a word gets longer than {} bytes when its variables are replaced", kWordBytesMax));
      }
    }
    if (quote != 0) {
      complain_(fmt::format("the quote {} is not closed", quote));
    }
    return out;
  }

 private:
  std::string variable() {
    ++at_;  // the $
    if (at_ >= word_.size() || (word_[at_] != '{' && !is_name(word_[at_]))) {
      return "$";
    }
    if (word_[at_] != '{') {
      const auto start = at_;
      while (at_ < word_.size() && is_name(word_[at_])) {
        ++at_;
      }
      return lookup_(word_.substr(start, at_ - start)).value_or("");
    }
    const auto end = closing_brace();
    const std::string inside = word_.substr(at_ + 1, end - at_ - 1);
    at_ = end + 1;
    const auto name_end = std::find_if_not(inside.begin(), inside.end(), is_name) - inside.begin();
    const std::string name = inside.substr(0, static_cast<std::size_t>(name_end));
    const std::string rest = inside.substr(static_cast<std::size_t>(name_end));
    const auto value = lookup_(name);
    const bool filled = value.has_value() && !value->empty();
    if (name.empty()) {
      complain_(fmt::format("${{{}}} names no variable", inside));
    } else if (rest.empty()) {
      return value.value_or("");
    } else if (rest.starts_with(":-")) {
      return filled ? *value : WordExpander(rest.substr(2), escape_, lookup_, complain_, depth_ + 1).expand();
    } else if (rest.starts_with(":+")) {
      return filled ? WordExpander(rest.substr(2), escape_, lookup_, complain_, depth_ + 1).expand() : "";
    } else {
      complain_(fmt::format("${{{}}} is a kind of expansion that is not understood", inside));
    }
    return {};
  }

  std::size_t closing_brace() const {
    int depth = 0;
    for (std::size_t i = at_; i < word_.size(); ++i) {
      depth += word_[i] == '{' ? 1 : word_[i] == '}' ? -1 : 0;
      if (depth == 0) {
        return i;
      }
    }
    complain_("a ${ is not closed");
    return word_.size();
  }

  const std::string& word_;
  char escape_;
  const Lookup& lookup_;
  const Complain& complain_;
  unsigned depth_;
  std::size_t at_ = 0;
};

}  // namespace

DockerfileLines split_dockerfile(const std::string& text, const std::string& file) {
  DockerfileLines made;
  std::istringstream input(text);
  std::string line;
  unsigned number = 0;
  bool may_direct = true;
  LogicalLine open;
  while (std::getline(input, line)) {
    ++number;
    if (may_direct) {
      if (const auto value = directive(line)) {
        if (*value != "\\" && *value != "`") {
          throw UsageError("{}:{}: the escape character is \\ or `, not '{}'", file, number, *value);
        }
        made.escape = value->front();
        continue;
      }
      may_direct = trimmed(line).starts_with('#') && line.find('=') != std::string::npos;
    }
    const std::string plain = trimmed(line);
    if (plain.empty() || plain.front() == '#') {
      continue;  // also between the lines of one instruction
    }
    if (open.text.empty()) {
      open.number = number;
    }
    // A line goes on when its last character, blanks aside, is an escape.
    if (plain.back() == made.escape) {
      open.text += trimmed(plain.substr(0, plain.size() - 1)) + " ";
      continue;
    }
    open.text += plain;
    made.lines.push_back(std::move(open));
    open = {};
  }
  if (!trimmed(open.text).empty()) {
    made.lines.push_back(std::move(open));
  }
  for (const auto& each : made.lines) {
    const auto here = each.text.find("<<");
    if (here != std::string::npos && here + 2 < each.text.size() &&
        (is_name(each.text[here + 2]) || each.text[here + 2] == '-' || each.text[here + 2] == '"')) {
      throw UsageError("{}:{}: here-documents are not understood; write the lines into a file and COPY it", file,
                       each.number);
    }
  }
  return made;
}

std::vector<std::string> split_words(const std::string& text, char escape, const Complain& complain) {
  std::vector<std::string> words;
  std::string word;
  char quote = 0;
  bool open = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quote == 0 && (c == ' ' || c == '\t')) {
      if (open) {
        words.push_back(std::move(word));
        word.clear();
        open = false;
      }
      continue;
    }
    open = true;
    word += c;
    if (c == escape && quote != '\'' && i + 1 < text.size()) {
      word += text[++i];
    } else if (quote == 0 && (c == '\'' || c == '"')) {
      quote = c;
    } else if (c == quote) {
      quote = 0;
    }
  }
  if (quote != 0) {
    complain(fmt::format("the quote {} is not closed", quote));
  }
  if (open) {
    words.push_back(std::move(word));
  }
  return words;
}

std::string expand_word(const std::string& word, char escape, const Lookup& lookup, const Complain& complain) {
  return WordExpander(word, escape, lookup, complain).expand();
}

std::optional<std::vector<std::string>> exec_form(const std::string& text) {
  std::vector<std::string> words;
  std::size_t at = text.find_first_not_of(kBlanks);
  if (at == std::string::npos || text[at] != '[') {
    return std::nullopt;
  }
  const auto skip_blanks = [&] { at = std::min(text.find_first_not_of(kBlanks, at), text.size()); };
  ++at;
  skip_blanks();
  while (at < text.size() && text[at] != ']') {
    if (text[at] != '"') {
      return std::nullopt;
    }
    std::string word;
    for (++at; at < text.size() && text[at] != '"'; ++at) {
      if (text[at] == '\\') {
        if (++at >= text.size()) {
          return std::nullopt;
        }
        static const std::string kFrom = "\"\\/bfnrt";
        static const std::string kTo = "\"\\/\b\f\n\r\t";
        const auto found = kFrom.find(text[at]);
        if (found == std::string::npos) {
          return std::nullopt;
        }
        word += kTo[found];
      } else {
        word += text[at];
      }
    }
    if (at >= text.size()) {
      return std::nullopt;
    }
    words.push_back(std::move(word));
    ++at;
    skip_blanks();
    if (at < text.size() && text[at] == ',') {
      ++at;
      skip_blanks();
      if (at < text.size() && text[at] == ']') {
        return std::nullopt;
      }
    } else if (at >= text.size() || text[at] != ']') {
      return std::nullopt;
    }
  }
  ++at;
  skip_blanks();
  return at >= text.size() ? std::optional(words) : std::nullopt;
}

}  // namespace sbench
