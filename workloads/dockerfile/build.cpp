#include "workloads/dockerfile/build.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <optional>

#include "drivers/base/file.h"
#include "drivers/base/user_namespace.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/compression.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/copy_tree.h"
#include "workloads/content/base_image.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/layer_store.h"
#include "workloads/dockerfile/image_users.h"
#include "workloads/dockerfile/recordings.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

std::string joined_path(const std::string& workdir, const std::string& path) {
  return path.starts_with('/') ? path : workdir + (workdir.ends_with('/') ? "" : "/") + path;
}

/// "web.Dockerfile:5.copy"; the whole path where two of the applications have the same name.
std::string step_name(const DockerApplication& application, const Instruction& instruction) {
  const auto file_name = [](const DockerApplication& one) { return fs::path(one.name).filename(); };
  const auto alike = std::count_if(applications().begin(), applications().end(), [&](const DockerApplication& other) {
    return file_name(other) == file_name(application);
  });
  std::string word = to_string(instruction.kind);
  std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::tolower(c); });
  return fmt::format("{}:{}.{}", alike > 1 ? application.name : file_name(application).string(), instruction.line, word);
}

constexpr std::uint32_t kReplayedUser = 1000;  ///< stands for a name that only a RUN which was not run could make

/// What --chown and --chmod say; root and the source's mode without them.
struct CopiedAs {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::optional<std::uint32_t> mode;
};

Result<CopiedAs> copied_as(const Instruction& instruction, ContainedRoot& root) {
  CopiedAs as;
  if (const auto chmod = instruction.flags.find("chmod"); chmod != instruction.flags.end()) {
    as.mode = static_cast<std::uint32_t>(std::stoul(chmod->second, nullptr, 8));
  }
  if (const auto chown = instruction.flags.find("chown"); chown != instruction.flags.end()) {
    const auto user = find_image_user(root, chown->second, MissingGroup::same_number);
    if (!user.ok() && (user.error().code != ENOENT || run_steps().exec)) {
      return plain_error(user.error().code, "--chown: {}", user.error().what);
    }
    as.uid = user.ok() ? user->uid : kReplayedUser;
    as.gid = user.ok() ? user->gid : kReplayedUser;
  }
  if ((as.uid != 0 || as.gid != 0) && !may_give_files_away()) {
    return plain_error(ENOTSUP, "--chown: {}; {}", kNoOtherOwners, kSubordinateIds);
  }
  return as;
}

Status give(int folder, const std::string& name, const CopiedAs& as, const std::string& path) {
  const bool given = (as.uid == 0 && as.gid == 0) ||
                     ::fchownat(folder, name.c_str(), as.uid, as.gid, AT_SYMLINK_NOFOLLOW) == 0;
  return given ? Status() : Status(errno_error("cannot change the owner of {} in the container", path));
}

/// The folder at `path` below the container's root, made with all above it; links stay inside.
Result<Fd> folder_inside(ContainedRoot& root, const std::string& path, const CopiedAs& as = {}) {
  for (auto slash = path.find('/');; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    auto there = root.open_directory(part.empty() ? "." : part);
    if (!there.ok() && there.error().code == ENOENT) {
      const auto above = part.rfind('/');
      SBENCH_TRY_SET(const Fd parent, root.open_directory(above == std::string::npos ? "." : part.substr(0, above)));
      const std::string name = above == std::string::npos ? part : part.substr(above + 1);
      if (::mkdirat(parent.get(), name.c_str(), 0755) != 0) {
        return errno_error("cannot make {} in the container", part);
      }
      SBENCH_TRY(give(parent.get(), name, as, part));
    } else if (!there.ok()) {
      return there.error();
    }
    if (slash == std::string::npos) {
      return root.open_directory(part.empty() ? "." : part);
    }
  }
}

/// A folder that is there already stays as it is, as in Docker.
Status copy_folder(const ContextFile& folder, ContainedRoot& root, const CopiedAs& as) {
  if (root.open_directory(folder.target).ok()) {
    return {};
  }
  SBENCH_TRY_SET(const Fd made, folder_inside(root, folder.target, as));
  return ::fchmod(made.get(), folder.mode & 07777) == 0
             ? Status()
             : Status(errno_error("cannot change the mode of {}", folder.target));
}

Status copy_file(const BuildContext& context, const ContextFile& file, ContainedRoot& root, const CopiedAs& as) {
  if (S_ISDIR(file.mode)) {
    return copy_folder(file, root, as);
  }
  const auto slash = file.target.rfind('/');
  const std::string name = file.target.substr(slash == std::string::npos ? 0 : slash + 1);
  SBENCH_TRY_SET(const Fd folder, folder_inside(root, slash == std::string::npos ? "" : file.target.substr(0, slash), as));
  if (::unlinkat(folder.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    return errno_error("cannot replace {} in the container", file.target);
  }
  if (S_ISLNK(file.mode)) {
    return ::symlinkat(file.link_target.c_str(), folder.get(), name.c_str()) == 0
               ? give(folder.get(), name, as, file.target)
               : Status(errno_error("cannot make {} in the container", file.target));
  }
  SBENCH_TRY_SET(const Fd from, open_file(context.folder() / file.source, O_RDONLY | O_NOFOLLOW));
  const Fd to(::openat(folder.get(), name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!to.valid()) {
    return errno_error("cannot make {} in the container", file.target);
  }
  FdSource source(from.get(), file.source);
  FdSink sink(to.get(), file.target);
  SBENCH_TRY_SET([[maybe_unused]] const auto bytes, copy_stream(source, sink, UINT64_MAX, file.source));
  SBENCH_TRY(give(folder.get(), name, as, file.target));  // before the mode: it takes set-user-id bits away
  return ::fchmod(to.get(), as.mode.value_or(file.mode & 07777)) == 0
             ? Status()
             : Status(errno_error("cannot change the mode of {}", file.target));
}

bool mentions(const std::string& text, std::initializer_list<const char*> words) {
  return std::any_of(words.begin(), words.end(), [&](const char* word) { return text.find(word) != std::string::npos; });
}

std::vector<std::string> sources_of(const Instruction& instruction) {
  return {instruction.words.begin(), instruction.words.end() - 1};
}

}  // namespace

LayerSpec DockerBuilder::change_set(const Instruction& instruction, const std::string& key) const {
  const std::string& text = instruction.text;
  const LayerStep step =
      mentions(text, {"pip install", "npm ", "yarn ", "go mod", "cargo ", "bundle ", "composer ", "poetry "})
          ? LayerStep::dependencies
      : mentions(text, {"apt-get", "apt ", "dnf ", "yum ", "apk ", "zypper ", "pacman "}) ? LayerStep::packages
                                                                                          : LayerStep::code;
  return image_spec(case_, scale_, step, 1 + static_cast<unsigned>(std::stoul(key.substr(0, 7), nullptr, 16)));
}

Result<DockerBuilder::StageResult> DockerBuilder::start_stage(const BuildStage& stage,
                                                              const std::vector<StageResult>& earlier) {
  if (stage.base_stage >= 0) {
    return earlier[static_cast<std::size_t>(stage.base_stage)];
  }
  StageResult made;
  const std::string digest =
      case_.image() != nullptr ? case_.image()->digest : std::to_string(content_seed(case_));
  made.key = BuildCache::key("", "FROM " + stage.base, digest);
  if (stage.base != "scratch") {
    SBENCH_TRY_SET(LayerId base, pulled_image(case_, scale_, LayerStep::base));
    made.top = std::move(base);
  }
  return made;
}

Result<DockerBuild> DockerBuilder::build(const DockerApplication& application, bool timed, unsigned touched) {
  DockerBuild made;
  std::vector<StageResult> results(application.file.stages.size());
  for (const std::size_t number : application.file.needed_by(application.file.stages.size() - 1)) {
    const BuildStage& stage = application.file.stages[number];
    SBENCH_TRY_SET(results[number], start_stage(stage, results));
    for (const auto& instruction : stage.instructions) {
      const Status taken = take_step(application, instruction, results, results[number], made, timed, touched);
      if (!taken.ok()) {
        return plain_error(taken.error().code, "{}:{}: {}", application.name, instruction.line, taken.error().what);
      }
    }
  }
  const ParentId& top = results.back().top;
  SBENCH_TRY(sbench::verify(top.has_value(), application.name + ": the last stage makes no layer"));
  made.top = *top;
  return made;
}

Status DockerBuilder::take_step(const DockerApplication& application, const Instruction& instruction,
                                const std::vector<StageResult>& earlier, StageResult& stage, DockerBuild& build,
                                bool timed, unsigned touched) {
  const std::string prefix = step_name(application, instruction);
  std::optional<LayerId> known;
  const auto look_up = [&]() -> Status {
    std::string checksum;
    if (instruction.kind == InstructionKind::copy || instruction.kind == InstructionKind::add) {
      const auto from = instruction.flags.find("from");
      if (from != instruction.flags.end()) {
        checksum = earlier[std::stoul(from->second)].key;
      } else {
        SBENCH_TRY_SET(const auto files,
                       application.context.files(sources_of(instruction), instruction.words.back(), stage.workdir));
        SBENCH_TRY_SET(checksum, application.context.checksum(files));
      }
      checksum += instruction.line == touched ? " touched" : "";
    }
    stage.key = BuildCache::key(stage.key, instruction.text, checksum);
    known = makes_layer(instruction.kind) ? cache_.find(stage.key) : std::nullopt;
    return {};
  };
  SBENCH_TRY(timed ? case_.timed(prefix + ".lookup", look_up) : look_up());
  if (instruction.kind == InstructionKind::workdir) {
    stage.workdir = joined_path(stage.workdir, instruction.words.front());
  }
  if (instruction.kind == InstructionKind::user) {
    stage.user = instruction.words.front();
  }
  if (instruction.kind == InstructionKind::env) {
    for (const auto& word : instruction.words) {
      stage.environment[word.substr(0, word.find('='))] = word.substr(word.find('=') + 1);
    }
  }
  if (!makes_layer(instruction.kind)) {
    return {};
  }
  const auto report = [&](bool hit, std::uint64_t bytes) {
    if (timed) {
      case_.metric(prefix + ".hit", hit ? 1 : 0);
      case_.metric(prefix + ".bytes", static_cast<double>(bytes));
    }
  };
  if (known.has_value()) {
    report(true, bytes_[*known]);
    stage.top = *known;
    ++build.layers_hit;
    build.bytes_hit += bytes_[*known];
    return {};
  }
  const LayerId id = case_.unique_id("step");
  std::uint64_t bytes = 0;
  const bool executed = instruction.kind == InstructionKind::run && run_steps().exec;
  const bool recordable = instruction.kind == InstructionKind::run && !run_steps().recordings.empty();
  if (recordable && !executed) {
    SBENCH_TRY_SET(stage.recorded, recorded_step(run_steps().recordings, stage.key));
  }
  SBENCH_TRY_SET(const std::uint64_t tar_bytes, make_layer(id, prefix, stage.top, timed, [&](const fs::path& root) -> Status {
    SBENCH_TRY_SET(bytes, write_step(application, instruction, earlier, stage, root));
    return {};
  }));
  if (recordable && executed) {
    SBENCH_TRY(record_step(run_steps().recordings, stage.key, instruction.text,
                           [&](ByteSink& tar) { return case_.driver().diff(id, stage.top, tar); }));
  }
  bytes = executed ? tar_bytes : bytes;  // what a command wrote is known from its layer alone
  report(false, bytes);
  bytes_[id] = bytes;
  cache_.insert(stage.key, id);
  stage.top = id;
  ++build.layers_made;
  build.bytes_made += bytes;
  build.made.push_back(fmt::format("{}:{}: {}", application.name, instruction.line, instruction.text));
  return {};
}

Result<std::uint64_t> DockerBuilder::make_layer(const LayerId& id, const std::string& prefix, const ParentId& parent, bool timed,
                                 const std::function<Status(const fs::path&)>& write) {
  const auto step = [&](const char* name, const std::function<Status()>& body) {
    return timed ? case_.timed(prefix + "." + name, body) : body();
  };
  scratch_.adopt(id);
  std::optional<Mount> mount;
  SBENCH_TRY(step("prepare", [&] { return case_.driver().prepare(id, parent); }));
  SBENCH_TRY(step("mount", [&]() -> Status {
    SBENCH_TRY_SET(Mount made, case_.driver().mount(id));
    mount.emplace(std::move(made));
    return {};
  }));
  SBENCH_TRY(step("write", [&] { return write(mount->path()); }));
  SBENCH_TRY(step("unmount", [&] { return mount->release(); }));
  CountingSink pushed;
  SBENCH_TRY(step("diff", [&] { return case_.driver().diff(id, parent, pushed); }));
  SBENCH_TRY(step("commit", [&] { return case_.driver().commit(id, id); }));
  return pushed.bytes();
}

Status DockerBuilder::run_command(const Instruction& instruction, const StageResult& stage, const fs::path& root) {
  RunCommand command;
  command.argv = instruction.exec_form ? instruction.words
                                       : std::vector<std::string>{"/bin/sh", "-c", instruction.words.front()};
  command.environment = instruction.arguments;
  for (const auto& [name, value] : stage.environment) {  // ENV wins over ARG
    command.environment[name] = value;
  }
  command.workdir = stage.workdir;
  command.user = stage.user;
  const Status ran = run_in_tree(root, command, run_steps().limit_s);
  return ran.ok() ? ran : plain_error(ran.error().code, "RUN failed: {}", ran.error().what);
}

Result<std::uint64_t> DockerBuilder::write_step(const DockerApplication& application, const Instruction& instruction,
                                                const std::vector<StageResult>& earlier, const StageResult& stage,
                                                const fs::path& root) {
  if (instruction.kind == InstructionKind::run && run_steps().exec) {
    SBENCH_TRY(run_command(instruction, stage, root));
    return std::uint64_t{0};
  }
  if (instruction.kind == InstructionKind::run && stage.recorded != nullptr) {
    MemorySource tar(*stage.recorded);
    return apply_layer(tar, root, WhiteoutStyle::erase);
  }
  if (instruction.kind == InstructionKind::run) {
    const LayerSpec spec = change_set(instruction, stage.key);
    SBENCH_TRY_SET(const auto content, layer_content(spec));
    SBENCH_TRY(write_layer(root, image_layer(spec), content));
    return image_layer(spec).content_bytes;
  }
  SBENCH_TRY_SET(ContainedRoot contained, ContainedRoot::open(root));
  if (instruction.kind == InstructionKind::workdir) {
    SBENCH_TRY_SET(const std::string path, contained_path(stage.workdir));
    SBENCH_TRY_SET([[maybe_unused]] const Fd folder, folder_inside(contained, path == "." ? "" : path));
    return std::uint64_t{0};
  }
  SBENCH_TRY_SET(const CopiedAs as, copied_as(instruction, contained));
  if (const auto from = instruction.flags.find("from"); from != instruction.flags.end()) {
    const StageResult& source = earlier[std::stoul(from->second)];
    SBENCH_TRY_SET(Mount mount, case_.driver().mount(*source.top));
    SBENCH_TRY_SET(const BuildContext tree, BuildContext::open(mount.path(), ""));  // a stage's tree has no rules
    SBENCH_TRY_SET(const auto files, tree.files(sources_of(instruction), instruction.words.back(), stage.workdir));
    std::uint64_t bytes = 0;
    for (const auto& file : files) {
      SBENCH_TRY(copy_file(tree, file, contained, as));
      bytes += file.size_bytes;
    }
    SBENCH_TRY(mount.release());
    return bytes;
  }
  SBENCH_TRY_SET(const auto files,
                 application.context.files(sources_of(instruction), instruction.words.back(), stage.workdir));
  std::uint64_t bytes = 0;
  for (const auto& file : files) {
    SBENCH_TRY(copy_file(application.context, file, contained, as));
    bytes += file.size_bytes;
  }
  return bytes;
}

Status DockerBuilder::verify(const DockerApplication& application, const DockerBuild& build) {
  SBENCH_TRY_SET(Mount mount, case_.driver().mount(build.top));
  struct Expected {
    fs::path source;
    CopiedAs as;
    std::uint32_t mode = 0;
  };
  std::map<std::string, Expected> expected;  // the last COPY of a target wins
  std::string workdir = "/";
  for (const auto& instruction : application.file.stages.back().instructions) {
    if (instruction.kind == InstructionKind::workdir) {
      workdir = joined_path(workdir, instruction.words.front());
    }
    if (instruction.kind == InstructionKind::run && run_steps().exec) {
      expected.clear();  // a command may change what was copied before
    }
    const bool copies = instruction.kind == InstructionKind::copy || instruction.kind == InstructionKind::add;
    if (copies && !instruction.flags.contains("from")) {
      SBENCH_TRY_SET(const auto files,
                     application.context.files(sources_of(instruction), instruction.words.back(), workdir));
      SBENCH_TRY_SET(ContainedRoot contained, ContainedRoot::open(mount.path()));  // closed before the tree is released
      SBENCH_TRY_SET(const CopiedAs as, copied_as(instruction, contained));
      for (const auto& file : files) {
        if (S_ISDIR(file.mode)) {
          const auto folder = contained.open_directory(file.target);
          SBENCH_TRY(sbench::verify(folder.ok() || run_steps().exec, file.target + " is a folder, as COPY made it"));
        } else if (S_ISREG(file.mode)) {
          expected[file.target] = {application.context.folder() / file.source, as, as.mode.value_or(file.mode & 07777)};
        }
      }
    }
  }
  for (const auto& [target, file] : expected) {
    SBENCH_TRY_SET(const std::string wanted, read_text(file.source));
    SBENCH_TRY_SET(const std::string found, read_text(mount.path() / target));
    SBENCH_TRY(sbench::verify(wanted == found, target + " is what COPY took in"));
    struct stat status {};
    const bool there = ::stat((mount.path() / target).c_str(), &status) == 0;
    SBENCH_TRY(sbench::verify(there && status.st_uid == file.as.uid && status.st_gid == file.as.gid &&
                                  (status.st_mode & 07777) == file.mode,
                              target + " has the owner and the mode that COPY gave it"));
  }
  return mount.release();
}

}  // namespace sbench
