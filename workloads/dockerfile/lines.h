// lines.h: the logical lines of a Dockerfile, and the words and variables in them.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace sbench {

/// A line with its continuations joined; comments and blank lines are gone.
struct LogicalLine {
  unsigned number = 0;  ///< of its first physical line, from 1
  std::string text;
};

struct DockerfileLines {
  char escape = '\\';
  std::vector<LogicalLine> lines;
};

/// Throws UsageError "FILE:LINE: …" for a malformed escape directive and for here-documents.
[[nodiscard]] DockerfileLines split_dockerfile(const std::string& text, const std::string& file);

/// Says what is wrong; the caller knows file and line.
using Complain = std::function<void(const std::string& what)>;

/// Words separated by blanks; quotes and escapes are kept in them.
[[nodiscard]] std::vector<std::string> split_words(const std::string& text, char escape, const Complain& complain);

using Lookup = std::function<std::optional<std::string>(const std::string& name)>;
/// Quotes taken away, escapes resolved, variables replaced (an unknown one by nothing). Complains of words that get longer
/// than 128 KiB, and of ${} nested deeper than 32.
[[nodiscard]] std::string expand_word(const std::string& word, char escape, const Lookup& lookup,
                                      const Complain& complain);

/// The strings of a JSON array of strings; nothing when `text` is none.
[[nodiscard]] std::optional<std::vector<std::string>> exec_form(const std::string& text);

}  // namespace sbench
