// layer_table.h: which layers a store holds, their kinds and parents, kept on disk.
//
// One symbolic link a layer: `active/ID` or `committed/ID` below the table's
// directory, pointing at the parent's id, or at "-" for none. Links, because
// making and renaming one is a single journalled step on every file system:
// a commit is one rename, a killed process leaves no half-written row, and no
// fsync is needed before the store's own sync(). `ls -l` shows the table. While
// a layer's content gets its committed name, a link `committing` → NAME/KEY says
// so: a power loss or kill then leaves content under one name and the row under
// the other, and whoever opens the store next knows how to go on.
// It knows ids, not content; drivers keep the content.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/driver.h"

namespace sbench {

class LayerTable {
 public:
  enum class Kind { active, committed };
  struct Row {
    Kind kind = Kind::active;
    ParentId parent;
  };

  /// Reads the table below `directory`, making the directory when missing.
  /// EUCLEAN when a row does not read as one, or a parent is missing.
  [[nodiscard]] static Result<LayerTable> open(std::filesystem::path directory);
  /// An empty table that is kept nowhere.
  [[nodiscard]] static LayerTable in_memory() { return {}; }

  /// EINVAL for a malformed id, EEXIST when taken, ENOENT / EINVAL for a missing / active parent.
  [[nodiscard]] Status check_new(const LayerId& id, const ParentId& parent) const;
  [[nodiscard]] Status add(const LayerId& id, const ParentId& parent);
  /// Active `key` becomes committed `name`. ENOENT without `key`, EINVAL when it is
  /// committed or `name` malformed, EEXIST when `name` is taken by another layer.
  [[nodiscard]] Status check_commit(const LayerId& name, const LayerId& key) const;
  [[nodiscard]] Status commit(const LayerId& name, const LayerId& key);
  /// Notes that `key`'s content is about to be renamed, until commit() or give_up_commit(). Errors as check_commit().
  [[nodiscard]] Status begin_commit(const LayerId& name, const LayerId& key);
  void give_up_commit();
  /// A commit that a process before this one began, and whose row is still active.
  struct Commit {
    LayerId name;
    LayerId key;
  };
  [[nodiscard]] const std::optional<Commit>& interrupted_commit() const { return interrupted_; }
  /// ENOENT, or ENOTEMPTY while another layer has it as its parent.
  [[nodiscard]] Status check_remove(const LayerId& id) const;
  [[nodiscard]] Status remove(const LayerId& id);

  /// ENOENT naming the layer.
  [[nodiscard]] Result<Row> find(const LayerId& id) const;
  [[nodiscard]] bool has_children(const LayerId& id) const;
  /// `id`'s ancestors, nearest first.
  [[nodiscard]] Result<std::vector<LayerId>> ancestors(const LayerId& id) const;
  [[nodiscard]] const std::map<LayerId, Row>& rows() const { return rows_; }

 private:
  LayerTable() = default;
  [[nodiscard]] Status read_kind(Kind kind);
  void read_interrupted_commit();
  [[nodiscard]] std::filesystem::path link_of(const LayerId& id, Kind kind) const;

  std::filesystem::path directory_;  ///< empty: in memory
  std::map<LayerId, Row> rows_;
  std::optional<Commit> interrupted_;
};

}  // namespace sbench
