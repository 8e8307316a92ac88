#include "workloads/dockerfile/applications.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "drivers/base/file.h"
#include "drivers/base/usage_error.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {
namespace {

std::vector<DockerApplication>& chosen() {
  static std::vector<DockerApplication> all;
  return all;
}

RunSteps& chosen_steps() {
  static RunSteps steps;
  return steps;
}

/// By its first bytes: a tar, or something packed with what Docker unpacks.
Result<bool> looks_like_archive(const std::filesystem::path& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY | O_NOFOLLOW));
  FdSource source(fd.get(), path.string());
  std::string start(512, '\0');
  SBENCH_TRY_SET(const std::size_t count, source.read(std::as_writable_bytes(std::span(start))));
  start.resize(count);
  using namespace std::string_view_literals;
  for (const auto packed : {"\x1f\x8b"sv, "BZh"sv, "\xfd""7zXZ\0"sv, "\x28\xb5\x2f\xfd"sv}) {
    if (start.starts_with(packed)) {
      return true;
    }
  }
  return start.size() > 262 && start.substr(257, 5) == "ustar";
}

/// What a COPY or ADD names must be there before anything is built, and an ADD of it must be a copy.
Status check_sources(const BuildContext& context, const Instruction& instruction) {
  const std::vector<std::string> sources(instruction.words.begin(), instruction.words.end() - 1);
  SBENCH_TRY_SET(const auto files, context.files(sources, instruction.words.back(), "/"));
  for (const auto& file : files) {
    if (instruction.kind != InstructionKind::add || !file.named || !S_ISREG(file.mode)) {
      continue;
    }
    SBENCH_TRY_SET(const bool archive, looks_like_archive(context.folder() / file.source));
    if (archive) {
      return plain_error(EINVAL, "Docker unpacks archives, sbench does not: COPY {}, or what is in it, if that is what is meant",
                         file.source);
    }
  }
  return {};
}

void check_sources(const DockerApplication& application) {
  for (const auto& stage : application.file.stages) {
    for (const auto& instruction : stage.instructions) {
      const bool copies = instruction.kind == InstructionKind::copy || instruction.kind == InstructionKind::add;
      if (!copies || instruction.flags.contains("from")) {
        continue;
      }
      if (const Status checked = check_sources(application.context, instruction); !checked.ok()) {
        throw_usage({checked.error().code, fmt::format("{}:{}: {}: {}", application.name, instruction.line,
                                                       to_string(instruction.kind), checked.error().what)});
      }
    }
  }
}

}  // namespace

std::vector<DockerApplication> read_applications(const std::vector<std::filesystem::path>& files) {
  std::vector<DockerApplication> all;
  for (const auto& file : files) {
    const auto text = read_text(file);
    if (!text.ok()) {
      throw_usage(text.error());
    }
    const auto folder = file.has_parent_path() ? file.parent_path() : std::filesystem::path(".");
    const auto own_rules = std::filesystem::path(file.string() + ".dockerignore");
    std::error_code error;
    auto context = BuildContext::open(folder, std::filesystem::exists(own_rules, error) ? own_rules : folder / ".dockerignore");
    if (!context.ok()) {
      throw_usage(context.error());
    }
    all.push_back({file.string(), parse_dockerfile(*text, file.string()), std::move(context).value()});
    check_sources(all.back());
  }
  return all;
}

void set_applications(std::vector<DockerApplication> applications) { chosen() = std::move(applications); }

const std::vector<DockerApplication>& applications() {
  if (chosen().empty()) {
    const std::filesystem::path folder = std::filesystem::path(SBENCH_SOURCE_DIR) / "examples/two-apps";
    chosen() = read_applications({folder / "web.Dockerfile", folder / "worker.Dockerfile"});
  }
  return chosen();
}

void set_run_steps(const RunSteps& steps) { chosen_steps() = steps; }

const RunSteps& run_steps() { return chosen_steps(); }

}  // namespace sbench
