#include "tests/fuzz/target.h"

namespace sbench::fuzz {

std::vector<const Target*>& targets() {
  static std::vector<const Target*> all;
  return all;
}

Target::Target(const char* its_name, void (*what)(Bytes), std::vector<std::string> (*from)(), unsigned how_many,
               std::size_t max)
    : name(its_name), run(what), seeds(from), mutations(how_many), bytes_max(max) {
  targets().push_back(this);
}

}  // namespace sbench::fuzz
