// context.h: the files a build may take in: .dockerignore, source patterns, checksums.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// The patterns of a .dockerignore: *, ?, [a-z], **, ! for exceptions; the last one that fits decides.
class IgnoreRules {
 public:
  /// Throws UsageError "FILE:LINE: …" for a malformed pattern.
  [[nodiscard]] static IgnoreRules parse(const std::string& text, const std::string& file);
  /// Whether `path`, relative to the context, is left out: it or a folder above it is named.
  [[nodiscard]] bool leaves_out(const std::string& path) const;

 private:
  struct Rule {
    std::vector<std::string> parts;
    bool exception = false;
  };
  std::vector<Rule> rules_;
};

/// Whether a name fits a pattern of *, ?, [a-z] and \: as Go's path.Match, within one component.
[[nodiscard]] bool name_fits(const std::string& pattern, const std::string& name);

struct ContextFile {
  std::string source;  ///< relative to the context
  std::string target;  ///< absolute path in the image, without a leading slash
  std::uint32_t mode = 0;  ///< with its kind: a file, a link, or a folder
  std::uint64_t size_bytes = 0;
  std::string link_target;
  bool named = false;  ///< by a source of the COPY itself, not as what a folder holds
};

/// A build context: a directory with its .dockerignore.
class BuildContext {
 public:
  /// `ignore`: the file of rules. Throws UsageError for a malformed one; one that does not exist leaves nothing out.
  [[nodiscard]] static Result<BuildContext> open(const std::filesystem::path& folder, const std::filesystem::path& ignore);

  /// What COPY `sources` `target` takes in, sorted by target. `workdir` is what a relative target starts
  /// from. A folder stands for what it holds, folders too, and its mode is that of the target. Links are taken as links and lead nowhere. ENOENT for a
  /// source that names nothing (or only what is ignored), EINVAL for one that climbs out of the context.
  [[nodiscard]] Result<std::vector<ContextFile>> files(const std::vector<std::string>& sources,
                                                       const std::string& target, const std::string& workdir) const;

  /// SHA-256 over targets, modes, link targets and content; times and owners do not count, as in Docker.
  [[nodiscard]] Result<std::string> checksum(const std::vector<ContextFile>& files) const;

  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  BuildContext(std::filesystem::path folder, IgnoreRules rules)
      : folder_(std::move(folder)), rules_(std::move(rules)) {}
  [[nodiscard]] Result<std::vector<std::string>> matching(const std::string& source) const;
  /// Adds the file at `path`; nothing when it is ignored.
  [[nodiscard]] Status take(const std::string& path, const std::string& target, bool named, std::vector<ContextFile>& files) const;

  std::filesystem::path folder_;
  IgnoreRules rules_;
};

}  // namespace sbench
