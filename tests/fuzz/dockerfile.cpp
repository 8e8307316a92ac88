// Dockerfiles, .dockerignore files and source patterns. Input: the three, a line "%%" between them.
#include "drivers/base/usage_error.h"
#include "tests/fuzz/target.h"
#include "workloads/dockerfile/context.h"
#include "workloads/dockerfile/dockerfile.h"

namespace sbench::fuzz {
namespace {

constexpr std::string_view kSeparator = "\n%%\n";

std::string take_part(std::string& text) {
  const auto end = text.find(kSeparator);
  std::string part = text.substr(0, end);
  text = end == std::string::npos ? "" : text.substr(end + kSeparator.size());
  return part;
}

void parse(const std::string& text) {
  try {
    const Dockerfile made = parse_dockerfile(text, "Dockerfile", {{"GIVEN", "value"}});
    require(!made.stages.empty(), "a Dockerfile without stages was accepted");
    for (std::size_t stage = 0; stage < std::min<std::size_t>(made.stages.size(), 16); ++stage) {
      for (const std::size_t needed : made.needed_by(stage)) {
        require(needed <= stage, "a stage needs a later one");
      }
    }
    for (const auto& stage : made.stages) {
      for (const auto& instruction : stage.instructions) {
        require(!instruction.text.empty(), "an instruction without text: the build cache would mistake it");
      }
    }
  } catch (const UsageError&) {
  }
}

void run(Bytes input) {
  std::string rest = text_of(input);
  parse(take_part(rest));
  const std::string rules = take_part(rest);
  const std::string path = rest.substr(0, 4096);
  try {
    const IgnoreRules made = IgnoreRules::parse(rules, ".dockerignore");
    static_cast<void>(made.leaves_out("a/b/c"));
    static_cast<void>(made.leaves_out(path));
    static_cast<void>(name_fits(rules.substr(0, 255), path.substr(0, 255)));
  } catch (const UsageError&) {
  }
}

std::vector<std::string> seeds() {
  const std::string file =
      "# escape=\\\nARG BASE=debian\nFROM --platform=linux/amd64 ${BASE:-x}:12 AS one\nARG A=1\nENV B=${A:+yes} C=\"a b\"\n"
      "RUN apt-get \\\n  # comment\n  install x\nRUN [\"a\", \"b\\u0041\"]\nWORKDIR /srv\nUSER app:app\nLABEL a=b\n"
      "FROM one\nCOPY --from=0 --chown=1:2 --chmod=0755 /a* /b/ /c/\nADD [\"x y\", \"/z\"]\nCMD echo $B\nENTRYPOINT [\"/bin/sh\"]\n";
  std::string stars;
  std::string folders;
  for (int i = 0; i < 40; ++i) {
    stars += "*a";
    folders += "**/a/";
  }
  std::string deep;
  std::string growing = "FROM x\nENV a=aaaaaaaa\n";
  for (int i = 0; i < 600; ++i) {
    deep += "${a:-";
  }
  for (int i = 0; i < 60; ++i) {
    growing += "ENV a=$a$a$a\n";
  }
  const std::string separator(kSeparator);
  return {file + separator + "*.o\n!keep.o\n**/node_modules\n[a-z]?\n" + separator + "src/keep.o",
          "FROM x" + separator + stars + "b\n" + separator + std::string(250, 'a'),
          "FROM x" + separator + folders + "**/b\n" + separator + [] {
            std::string path;
            for (int i = 0; i < 60; ++i) {
              path += "a/";
            }
            return path;
          }(),
          "FROM x\nWORKDIR " + deep + std::string(600, '}'),
          growing};
}

const Target target("dockerfile", run, seeds, 400, 4096);

}  // namespace
}  // namespace sbench::fuzz
