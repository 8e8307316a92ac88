// layer_table.h: which layers a store holds, their kinds and parents, kept on disk.
//
// One small text file a layer below a directory: "active\nPARENT\n" or
// "committed\nPARENT\n" (an empty line for no parent), replaced by rename.
// It knows ids, not content; drivers keep the content.
#pragma once

#include <filesystem>
#include <map>
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
  [[nodiscard]] static Result<LayerTable> open(std::filesystem::path directory);

  /// EINVAL for a malformed id, EEXIST when taken, ENOENT / EINVAL for a missing / active parent.
  [[nodiscard]] Status check_new(const LayerId& id, const ParentId& parent) const;
  [[nodiscard]] Status add(const LayerId& id, const ParentId& parent);
  /// Active `key` becomes committed `name`. EEXIST when `name` is taken by another layer.
  [[nodiscard]] Status check_commit(const LayerId& name, const LayerId& key) const;
  [[nodiscard]] Status commit(const LayerId& name, const LayerId& key);
  /// ENOENT, or ENOTEMPTY while another layer has it as its parent.
  [[nodiscard]] Status check_remove(const LayerId& id) const;
  [[nodiscard]] Status remove(const LayerId& id);

  /// ENOENT naming the layer.
  [[nodiscard]] Result<Row> find(const LayerId& id) const;
  /// `id`'s ancestors, nearest first.
  [[nodiscard]] Result<std::vector<LayerId>> ancestors(const LayerId& id) const;
  [[nodiscard]] const std::map<LayerId, Row>& rows() const { return rows_; }

 private:
  std::filesystem::path directory_;
  std::map<LayerId, Row> rows_;
};

}  // namespace sbench
