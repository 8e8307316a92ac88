// change.h: one path that differs between a layer and its parent.
#pragma once

#include <string>

namespace sbench {

struct Change {
  enum class Kind { added, modified, deleted };
  Kind kind = Kind::added;
  std::string path;  ///< from the layer's root, no leading slash: "usr/lib/libc.so"

  friend bool operator==(const Change&, const Change&) = default;
};

/// "A", "C" or "D": the letters `docker diff` prints.
[[nodiscard]] inline const char* letter(Change::Kind kind) {
  switch (kind) {
    case Change::Kind::added: return "A";
    case Change::Kind::modified: return "C";
    case Change::Kind::deleted: return "D";
  }
  return "?";
}

}  // namespace sbench
