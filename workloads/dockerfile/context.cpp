#include "workloads/dockerfile/context.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/usage_error.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/tree_walk.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream input(path);
  std::string part;
  while (std::getline(input, part, '/')) {
    if (!part.empty() && part != ".") {
      parts.push_back(part);
    }
  }
  return parts;
}

/// Position after the class that starts at `at` ("[a-z]"), whether `c` is in it; npos: malformed.
std::size_t match_class(const std::string& pattern, std::size_t at, char c, bool& fits) {
  bool negated = false;
  fits = false;
  ++at;
  if (at < pattern.size() && pattern[at] == '^') {
    negated = true;
    ++at;
  }
  const std::size_t start = at;
  while (at < pattern.size() && (pattern[at] != ']' || at == start)) {
    at += pattern[at] == '\\' ? 1 : 0;
    if (at >= pattern.size()) {
      return std::string::npos;
    }
    const char low = pattern[at++];
    char high = low;
    if (at + 1 < pattern.size() && pattern[at] == '-' && pattern[at + 1] != ']') {
      high = pattern[at + 1];
      at += 2;
    }
    fits = fits || (low <= c && c <= high);
  }
  fits = fits != negated;
  return at < pattern.size() ? at + 1 : std::string::npos;
}

/// One character of the name against the pattern at `at`, which is no star; where the pattern goes on, npos when it does not fit.
std::size_t match_one(const std::string& pattern, std::size_t at, char c) {
  if (pattern[at] == '[') {
    bool fits = false;
    const std::size_t end = match_class(pattern, at, c, fits);
    return fits ? end : std::string::npos;
  }
  const bool any = pattern[at] == '?';
  at += pattern[at] == '\\' && at + 1 < pattern.size() ? 1 : 0;
  return any || pattern[at] == c ? at + 1 : std::string::npos;
}

/// Folder by folder, every place in the path that the pattern's parts so far can have led to: no pattern takes more than
/// its parts times the path's.
bool parts_fit(const std::vector<std::string>& pattern, const std::vector<std::string>& path) {
  std::vector<bool> places(path.size() + 1);
  places[0] = true;
  for (std::size_t p = 0; p < pattern.size(); ++p) {
    std::vector<bool> next(path.size() + 1);
    bool reached = false;
    for (std::size_t n = 0; n <= path.size(); ++n) {
      reached = reached || places[n];
      if (pattern[p] != "**") {
        next[n] = n > 0 && places[n - 1] && name_fits(pattern[p], path[n - 1]);
      } else if (p + 1 < pattern.size()) {
        next[n] = reached;
      } else if (n < path.size() && places[n]) {
        return true;  // a last ** needs something that it stands for
      }
    }
    places = std::move(next);
  }
  return std::find(places.begin(), places.end(), true) != places.end();  // the path, or a folder above it
}

bool has_wildcard(const std::string& part) { return part.find_first_of("*?[\\") != std::string::npos; }

}  // namespace

bool name_fits(const std::string& pattern, const std::string& name) {
  // What a star stands for grows only when the rest does not fit, and only the last star's: earlier ones stay as short as they can.
  std::size_t p = 0;
  std::size_t star = std::string::npos;
  std::size_t star_end = 0;
  for (std::size_t n = 0; n < name.size();) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      star_end = n;
      continue;
    }
    const std::size_t next = p < pattern.size() ? match_one(pattern, p, name[n]) : std::string::npos;
    if (next != std::string::npos) {
      p = next;
      ++n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++star_end;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string::npos;
}

IgnoreRules IgnoreRules::parse(const std::string& text, const std::string& file) {
  IgnoreRules made;
  std::istringstream input(text);
  std::string line;
  unsigned number = 0;
  while (std::getline(input, line)) {
    ++number;
    if (line.starts_with('#')) {
      continue;
    }
    const auto first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos) {
      continue;
    }
    line = line.substr(first, line.find_last_not_of(" \t\r") - first + 1);
    Rule rule;
    rule.exception = line.starts_with('!');
    rule.parts = parts_of(rule.exception ? line.substr(1) : line);
    for (const auto& part : rule.parts) {
      bool fits = false;
      const auto open = part.find('[');
      if (part == ".." || (open != std::string::npos && match_class(part, open, 'x', fits) == std::string::npos)) {
        throw UsageError("{}:{}: '{}' is no pattern", file, number, line);
      }
    }
    if (!rule.parts.empty()) {
      made.rules_.push_back(std::move(rule));
    }
  }
  return made;
}

bool IgnoreRules::leaves_out(const std::string& path) const {
  const auto parts = parts_of(path);
  bool out = false;
  for (const auto& rule : rules_) {
    if (out == rule.exception && parts_fit(rule.parts, parts)) {
      out = !rule.exception;
    }
  }
  return out;
}

Result<BuildContext> BuildContext::open(const fs::path& folder, const fs::path& ignore) {
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return plain_error(ENOTDIR, "{} is no directory; it cannot be a build context", folder.string());
  }
  std::string text;
  if (fs::exists(ignore, error)) {
    SBENCH_TRY_SET(text, read_text(ignore));
  }
  return BuildContext(folder, IgnoreRules::parse(text, ignore.string()));
}

/// Paths below the context that `source`, with wildcards or without, names.
Result<std::vector<std::string>> BuildContext::matching(const std::string& source) const {
  std::vector<std::string> found = {"."};
  const auto contained = contained_path(source.empty() ? "." : source);
  if (!contained.ok()) {
    return plain_error(EINVAL, "{} leads out of the build context", source);
  }
  for (const auto& part : parts_of(*contained)) {
    std::vector<std::string> next;
    for (const auto& above : found) {
      std::error_code error;
      if (above != "." && fs::is_symlink(folder_ / above, error)) {
        if (!has_wildcard(*contained)) {
          return plain_error(EINVAL, "{} goes through the link {}; name what it leads to", source, above);
        }
        continue;  // a link would lead out of the context
      }
      if (!has_wildcard(part)) {
        const fs::path path = folder_ / above / part;
        if (fs::exists(fs::symlink_status(path, error))) {
          next.push_back(join_path(above, part));
        }
        continue;
      }
      for (fs::directory_iterator it(folder_ / above, error), end; !error && it != end; it.increment(error)) {
        if (name_fits(part, it->path().filename().string())) {
          next.push_back(join_path(above, it->path().filename().string()));
        }
      }
    }
    found = std::move(next);
  }
  std::sort(found.begin(), found.end());
  return found;
}

Status BuildContext::take(const std::string& path, const std::string& target, bool named,
                          std::vector<ContextFile>& files) const {
  if (path != "." && rules_.leaves_out(path)) {
    return {};
  }
  const fs::path full = folder_ / path;
  ContextFile made{path, target, 0, 0, "", named};
  struct stat status {};
  if (::lstat(full.c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", full.string());
  }
  made.mode = status.st_mode;
  if (S_ISLNK(status.st_mode)) {
    std::error_code error;
    made.link_target = fs::read_symlink(full, error).string();
  } else if (S_ISREG(status.st_mode)) {
    made.size_bytes = static_cast<std::uint64_t>(status.st_size);
  } else if (!S_ISDIR(status.st_mode)) {
    return plain_error(EINVAL, "{} is neither file nor folder nor link; it cannot be copied", full.string());
  }
  files.push_back(std::move(made));
  return {};
}

Result<std::vector<ContextFile>> BuildContext::files(const std::vector<std::string>& sources, const std::string& target,
                                                     const std::string& workdir) const {
  const std::string absolute = target.starts_with('/') ? target : workdir + "/" + target;
  SBENCH_TRY_SET(std::string base, contained_path(absolute.empty() ? "/" : absolute));
  if (base == ".") {
    base.clear();
  }
  const bool into_folder = target.ends_with('/') || target == "." || target.ends_with("/.") || sources.size() > 1;
  const auto below = [](const std::string& folder, const std::string& name) {
    return folder.empty() ? name : folder + "/" + name;
  };
  std::vector<ContextFile> files;
  for (const auto& source : sources) {
    SBENCH_TRY_SET(const auto paths, matching(source));
    const std::size_t before = files.size();
    for (const auto& path : paths) {
      std::error_code error;
      if (!fs::is_directory(fs::symlink_status(folder_ / path, error))) {
        const bool several = paths.size() > 1 || into_folder;
        SBENCH_TRY(take(path, several ? below(base, fs::path(path).filename().string()) : base, true, files));
        continue;
      }
      SBENCH_TRY(walk_tree(folder_ / path, [&](const Visited& visited) -> Result<WalkStep> {
        if (visited.path != ".") {
          SBENCH_TRY(take(join_path(path, visited.path), below(base, visited.path), false, files));
        } else if (!base.empty()) {
          SBENCH_TRY(take(path, base, false, files));
        }
        return WalkStep::enter;
      }));
    }
    if (files.size() == before && std::all_of(paths.begin(), paths.end(), [&](const std::string& path) {
          return path == "." ? false : rules_.leaves_out(path);
        })) {
      return plain_error(ENOENT, "{} names nothing in the build context {}{}", source, folder_.string(),
                         paths.empty() ? "" : " that .dockerignore leaves in");
    }
  }
  std::sort(files.begin(), files.end(), [](const auto& one, const auto& other) { return one.target < other.target; });
  return files;
}

Result<std::string> BuildContext::checksum(const std::vector<ContextFile>& files) const {
  Sha256 hash;
  std::vector<std::byte> buffer(1 << 16);
  for (const auto& file : files) {
    hash.update(fmt::format("{}:{} {:o} {} {}:{}\n", file.target.size(), file.target, file.mode, file.size_bytes,
                            file.link_target.size(), file.link_target));
    if (!S_ISREG(file.mode)) {
      continue;
    }
    SBENCH_TRY_SET(const Fd fd, open_file(folder_ / file.source, O_RDONLY | O_NOFOLLOW));
    FdSource source(fd.get(), (folder_ / file.source).string());
    for (;;) {
      SBENCH_TRY_SET(const std::size_t count, source.read(buffer));
      if (count == 0) {
        break;
      }
      hash.update(std::span(buffer).first(count));
    }
  }
  return hash.finish();
}

}  // namespace sbench
