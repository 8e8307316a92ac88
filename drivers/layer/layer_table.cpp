#include "drivers/layer/layer_table.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "drivers/base/file.h"

namespace sbench {

namespace {

constexpr std::size_t kIdCharsMax = 128;
constexpr const char* kNoParent = "-";
constexpr const char* kCommitting = "committing";

bool is_alphanumeric(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }

bool is_layer_id(std::string_view id) {
  return !id.empty() && id.size() <= kIdCharsMax && is_alphanumeric(id.front()) &&
         std::all_of(id.begin(), id.end(),
                     [](char c) { return is_alphanumeric(c) || c == '_' || c == '.' || c == '-'; });
}

Status check_id(const LayerId& id) {
  if (!is_layer_id(id)) {
    return plain_error(EINVAL, "'{}' is not a layer id: letters, digits, '_', '.', '-', at most {} of them", id,
                       kIdCharsMax);
  }
  return {};
}

}  // namespace

std::filesystem::path LayerTable::link_of(const LayerId& id, Kind kind) const {
  return directory_ / (kind == Kind::active ? "active" : "committed") / id;
}

Result<LayerTable> LayerTable::open(std::filesystem::path directory) {
  LayerTable table;
  table.directory_ = std::move(directory);
  SBENCH_TRY(table.read_kind(Kind::active));
  SBENCH_TRY(table.read_kind(Kind::committed));
  for (const auto& [id, row] : table.rows_) {
    if (!row.parent) {
      continue;
    }
    const auto parent = table.rows_.find(*row.parent);
    if (parent == table.rows_.end() || parent->second.kind != Kind::committed) {
      return plain_error(EUCLEAN, "{}: layer {} names the parent {}, which is no committed layer",
                         table.directory_.string(), id, *row.parent);
    }
  }
  table.read_interrupted_commit();
  return table;
}

Status LayerTable::read_kind(Kind kind) {
  const auto folder = link_of("", kind);
  SBENCH_TRY(make_directories(folder));
  std::error_code failure;
  for (std::filesystem::directory_iterator it(folder, failure), end; !failure && it != end; it.increment(failure)) {
    const std::string id = it->path().filename();
    std::error_code unreadable;
    const std::string target = std::filesystem::read_symlink(it->path(), unreadable);
    if (unreadable || !is_layer_id(id) || (target != kNoParent && !is_layer_id(target)) || rows_.contains(id)) {
      return plain_error(EUCLEAN, "{} is not a row of a layer table", it->path().string());
    }
    rows_[id] = Row{kind, target == kNoParent ? ParentId{} : ParentId{target}};
  }
  if (failure) {
    return make_error(failure.value(), "cannot read {}", folder.string());
  }
  return {};
}

Status LayerTable::check_new(const LayerId& id, const ParentId& parent) const {
  SBENCH_TRY(check_id(id));
  if (rows_.contains(id)) {
    return plain_error(EEXIST, "there is a layer {} already", id);
  }
  if (parent) {
    SBENCH_TRY_SET(const auto row, find(*parent));
    if (row.kind != Kind::committed) {
      return plain_error(EINVAL, "{} is not committed: only committed layers are parents", *parent);
    }
  }
  return {};
}

Status LayerTable::add(const LayerId& id, const ParentId& parent) {
  SBENCH_TRY(check_new(id, parent));
  if (!directory_.empty()) {
    const auto link = link_of(id, Kind::active);
    if (::symlink(parent.value_or(kNoParent).c_str(), link.c_str()) != 0) {
      return errno_error("cannot make {}", link.string());
    }
  }
  rows_[id] = Row{Kind::active, parent};
  return {};
}

Status LayerTable::check_commit(const LayerId& name, const LayerId& key) const {
  SBENCH_TRY(check_id(name));
  SBENCH_TRY_SET(const auto row, find(key));
  if (row.kind != Kind::active) {
    return plain_error(EINVAL, "{} is committed already", key);
  }
  if (name != key && rows_.contains(name)) {
    return plain_error(EEXIST, "there is a layer {} already", name);
  }
  return {};
}

Status LayerTable::commit(const LayerId& name, const LayerId& key) {
  SBENCH_TRY(check_commit(name, key));
  if (!directory_.empty()) {
    const auto source = link_of(key, Kind::active);
    if (::rename(source.c_str(), link_of(name, Kind::committed).c_str()) != 0) {
      return errno_error("cannot rename {}", source.string());
    }
  }
  auto row = rows_.extract(key);
  row.key() = name;
  row.mapped().kind = Kind::committed;
  rows_.insert(std::move(row));
  give_up_commit();
  return {};
}

Status LayerTable::begin_commit(const LayerId& name, const LayerId& key) {
  SBENCH_TRY(check_commit(name, key));
  give_up_commit();
  if (directory_.empty() || name == key) {
    return {};
  }
  const auto note = directory_ / kCommitting;
  return ::symlink((name + "/" + key).c_str(), note.c_str()) == 0 ? Status() : errno_error("cannot make {}", note.string());
}

void LayerTable::give_up_commit() {
  interrupted_.reset();
  if (!directory_.empty()) {
    ::unlink((directory_ / kCommitting).c_str());  // most commits are noted and done by one process
  }
}

/// A note that no longer fits the rows is void: its commit is done, or its layer gone.
void LayerTable::read_interrupted_commit() {
  std::error_code none;
  const std::string note = std::filesystem::read_symlink(directory_ / kCommitting, none);
  const auto slash = note.find('/');
  if (none || slash == std::string::npos) {
    return;
  }
  const Commit commit{note.substr(0, slash), note.substr(slash + 1)};
  if (check_commit(commit.name, commit.key).ok()) {
    interrupted_ = commit;
  } else {
    give_up_commit();  // another layer may get this key
  }
}

Status LayerTable::check_remove(const LayerId& id) const {
  SBENCH_TRY(find(id));
  if (has_children(id)) {
    return plain_error(ENOTEMPTY, "layer {} has children: remove them first", id);
  }
  return {};
}

Status LayerTable::remove(const LayerId& id) {
  SBENCH_TRY(check_remove(id));
  if (!directory_.empty()) {
    const auto link = link_of(id, rows_.at(id).kind);
    if (::unlink(link.c_str()) != 0) {
      return errno_error("cannot remove {}", link.string());
    }
  }
  rows_.erase(id);
  if (interrupted_ && interrupted_->key == id) {
    give_up_commit();
  }
  return {};
}

Result<LayerTable::Row> LayerTable::find(const LayerId& id) const {
  const auto row = rows_.find(id);
  if (row == rows_.end()) {
    return plain_error(ENOENT, "there is no layer {}", id);
  }
  return row->second;
}

bool LayerTable::has_children(const LayerId& id) const {
  return std::any_of(rows_.begin(), rows_.end(), [&id](const auto& row) { return row.second.parent == id; });
}

Result<std::vector<LayerId>> LayerTable::ancestors(const LayerId& id) const {
  std::vector<LayerId> found;
  SBENCH_TRY_SET(auto row, find(id));
  while (row.parent) {
    found.push_back(*row.parent);
    SBENCH_TRY_SET(row, find(*row.parent));
  }
  return found;
}

}  // namespace sbench
