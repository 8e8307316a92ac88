// expectation.h: what a store must hold after a power loss, by the marks that stand before it.
//
// A layer that the last `synced` saw, and that nothing was begun with since, is there, with
// all its content. One that was begun with since may be as before or as after: a commit has
// either of its names; what is prepared or removed may be there or not, and is no obstacle.
// A file has its last acknowledged version, or a later one that was tried.
#pragma once

#include <memory>
#include <set>

#include "drivers/driver.h"
#include "tests/crash/container_files.h"
#include "tests/crash/write_log.h"

namespace sbench::crash {

/// What a file of a container may be.
struct FileState {
  FileKind kind = FileKind::append;
  std::uint64_t acknowledged = 0;
  std::uint64_t tried = 0;
};

struct LayerState {
  enum class Whole { yes, unknown };
  /// Its names: one, or two while a commit is under way. One of them is there, if it must be there.
  std::set<LayerId> names;
  bool required = false;  ///< a `synced` saw it, and no removal was begun
  bool removing = false;
  bool is_container = false;
  std::map<std::string, FileState> files;  ///< of a container
};

class Expectation {
 public:
  /// From the marks before record `at`.
  [[nodiscard]] static Expectation after(const WriteLog& log, std::size_t at);

  [[nodiscard]] const std::vector<std::shared_ptr<LayerState>>& layers() const { return layers_; }
  /// The layer that may go by this name; null: nobody ever made it.
  [[nodiscard]] std::shared_ptr<LayerState> find(const LayerId& id) const;

 private:
  void take(const std::string& mark);
  void settle();

  std::vector<std::shared_ptr<LayerState>> layers_;
  std::map<LayerId, std::shared_ptr<LayerState>> committed_as_;  ///< since the last `synced`: the new name
};

/// Why a file whose content was read is none of what it may be; empty when it is. `base`: its content in the image,
/// null when it has none. `zeros_allowed`: what was appended and not acknowledged may read as zeros. Not for databases.
[[nodiscard]] std::string compare_content(const Result<std::string>& content, const std::string& path,
                                          const FileState& state, const std::string* base, bool zeros_allowed);
/// The same for the file at `path` of a mounted tree; a database is opened as its next user would.
[[nodiscard]] std::string compare_file(const std::string& root, const std::string& path, const FileState& state,
                                       const std::string* base, bool zeros_allowed);

}  // namespace sbench::crash
