// history.h: seeded histories of everything a pool can do, played on a pool and on a plain model in memory.
#pragma once

#include <linux/falloc.h>

#include <set>

#include "drivers/base/hash.h"
#include "tests/cow_fs/pool_test.h"

namespace sbench::cow_fs {

/// A tree as plain maps. Hard links share their content.
struct ModelNode {
  mode_t mode = 0;
  std::string content;  ///< of a file; a symbolic link's target
  std::map<std::string, std::string> xattrs;
};

class ModelTree {
 public:
  ModelTree() { names_[""] = 0; nodes_[0] = {S_IFDIR | 0755, {}, {}}; }

  [[nodiscard]] bool has(const std::string& path) const { return names_.contains(path); }
  ModelNode& at(const std::string& path) { return nodes_.at(names_.at(path)); }
  void make(const std::string& path, ModelNode node) {
    nodes_[next_] = std::move(node);
    names_[path] = next_++;
  }
  void link(const std::string& from, const std::string& to) { names_[to] = names_.at(from); }
  void unlink(const std::string& path) { names_.erase(path); }
  [[nodiscard]] bool is_directory(const std::string& path) { return has(path) && S_ISDIR(at(path).mode); }
  [[nodiscard]] bool is_empty(const std::string& path) const {
    const auto next = names_.lower_bound(path + "/");
    return next == names_.end() || next->first.compare(0, path.size() + 1, path + "/") != 0;
  }
  [[nodiscard]] bool same(const std::string& a, const std::string& b) const { return names_.at(a) == names_.at(b); }
  void rename(const std::string& from, const std::string& to) {
    std::map<std::string, int> moved;
    for (auto it = names_.begin(); it != names_.end();) {
      if (it->first == from || it->first.compare(0, from.size() + 1, from + "/") == 0) {
        moved[to + it->first.substr(from.size())] = it->second;
        it = names_.erase(it);
      } else {
        ++it;
      }
    }
    for (const auto& [path, node] : moved) {
      names_[path] = node;
    }
  }
  [[nodiscard]] std::vector<std::string> paths() const {
    std::vector<std::string> all;
    for (const auto& [path, node] : names_) {
      all.push_back(path);
    }
    return all;
  }
  /// A line a name, without times and owners.
  [[nodiscard]] std::map<std::string, std::string> describe() const {
    std::map<int, int> links;
    for (const auto& [path, node] : names_) {
      ++links[node];
    }
    std::map<std::string, std::string> lines;
    for (const auto& [path, id] : names_) {
      const ModelNode& node = nodes_.at(id);
      std::string line = fmt::format("{:o}", node.mode);
      if (!S_ISDIR(node.mode)) {
        line += fmt::format(" links {} size {} content {:x}", links[id], node.content.size(), xxh3(bytes_of(node.content)));
      }
      for (const auto& [name, value] : node.xattrs) {
        line += fmt::format(" {}={:x}", name, xxh3(bytes_of(value)));
      }
      lines[path] = line;
    }
    return lines;
  }

 private:
  std::map<std::string, int> names_;
  std::map<int, ModelNode> nodes_;
  int next_ = 1;
};

/// The same lines of a real tree. An unreadable one is an error.
inline Status describe_real(Files& files, const std::string& path, std::map<std::string, std::string>& into) {
  SBENCH_TRY_SET(const NodeId node, files.find(path));
  SBENCH_TRY_SET(const auto status, files.raw().attributes(node, 0));
  std::string line = fmt::format("{:o}", status.st_mode);
  if (!S_ISDIR(status.st_mode)) {
    std::string content;
    if (S_ISLNK(status.st_mode)) {
      SBENCH_TRY_SET(content, files.raw().read_link(node));
    } else {
      SBENCH_TRY_SET(content, files.read(path));
    }
    line += fmt::format(" links {} size {} content {:x}", status.st_nlink, content.size(), xxh3(bytes_of(content)));
  }
  SBENCH_TRY_SET(const std::string names, files.raw().xattr_names(node));
  std::map<std::string, std::string> xattrs;
  for (std::size_t at = 0; at < names.size(); at += std::strlen(names.c_str() + at) + 1) {
    SBENCH_TRY_SET(xattrs[names.c_str() + at], files.raw().xattr(node, names.c_str() + at));
  }
  for (const auto& [name, value] : xattrs) {
    line += fmt::format(" {}={:x}", name, xxh3(bytes_of(value)));
  }
  into[path] = line;
  if (S_ISDIR(status.st_mode)) {
    SBENCH_TRY_SET(const auto entries, files.list(path));
    for (const auto& [name, type] : entries) {
      SBENCH_TRY(describe_real(files, path.empty() ? name : path + "/" + name, into));
    }
  }
  return {};
}

/// Datasets and snapshots, by name.
struct Model {
  struct Set {
    ModelTree tree;
    std::string origin;  ///< snapshot that a dataset or snapshot came after; ""
    bool snapshot = false;
  };
  std::map<std::string, Set> sets;

  [[nodiscard]] std::map<std::string, std::map<std::string, std::string>> describe() const {
    std::map<std::string, std::map<std::string, std::string>> all;
    for (const auto& [name, set] : sets) {
      all[name] = set.tree.describe();
    }
    return all;
  }
};

inline Result<std::map<std::string, std::map<std::string, std::string>>> describe_pool(Pool& pool) {
  std::map<std::string, std::map<std::string, std::string>> all;
  for (const auto& info : pool.list()) {
    SBENCH_TRY_SET(const auto mounted, DatasetFiles::open(pool, info.name));
    Files files(*mounted);
    SBENCH_TRY(describe_real(files, "", all[info.name]));
  }
  return all;
}

/// Plays one random step at a time on a pool and, when the pool did it, on the model.
class History {
 public:
  History(Pool& pool, std::uint64_t seed, std::uint64_t file_bytes_max)
      : pool_(pool), rng_(seed, "history"), file_bytes_max_(file_bytes_max) {}

  /// New names are numbered from here on.
  void serial_from(int serial) { serial_ = serial; }

  enum class Did { change, durable, refused };
  /// An error is the device's (or a difference between pool and model, which fails the test).
  Result<Did> step() {
    const std::uint64_t choice = rng_.below(100);
    if (model.sets.empty() || choice < 2) {
      return create();
    }
    if (choice < 6) {
      return snapshot();
    }
    if (choice < 10) {
      return clone();
    }
    if (choice < 14) {
      return destroy();
    }
    if (choice < 22) {
      SBENCH_TRY(pool_.sync());
      return Did::durable;
    }
    if (choice < 32) {
      SBENCH_TRY(pool_.make_durable());
      return Did::durable;
    }
    return change_tree();
  }

  Model model;
  /// The model after the operation that is being tried: a power loss may leave either.
  std::optional<Model> tried;

 private:
  std::string pick(bool snapshot) {
    std::vector<std::string> names;
    for (const auto& [name, set] : model.sets) {
      if (set.snapshot == snapshot) {
        names.push_back(name);
      }
    }
    return names.empty() ? std::string() : names[rng_.below(names.size())];
  }

  /// Applies the change to the model as the pool answered `done`.
  template <typename Change>
  Result<Did> settle(const std::function<Status()>& act, bool durable, Change&& change) {
    tried = model;
    change(*tried);
    const Status done = act();
    if (!done.ok()) {
      return done.error();
    }
    model = std::move(*tried);
    tried.reset();
    return durable ? Did::durable : Did::change;
  }

  Result<Did> create() {
    const std::string name = fmt::format("d{}", ++serial_);
    DatasetOptions options;
    options.record_bytes = std::uint32_t{4096} << rng_.below(4);
    options.compression = rng_.below(2) == 0 ? Compression::off : Compression::lz4;
    return settle([&] { return pool_.create(name, options); }, true, [&](Model& m) { m.sets[name] = {}; });
  }
  Result<Did> snapshot() {
    const std::string of = pick(false);
    const std::string name = fmt::format("s{}", ++serial_);
    if (of.empty()) {
      return Did::refused;
    }
    return settle([&] { return pool_.snapshot(of, name); }, true, [&](Model& m) {
      m.sets[name] = m.sets[of];
      m.sets[name].snapshot = true;
      m.sets[of].origin = name;
    });
  }
  Result<Did> clone() {
    const std::string of = pick(true);
    const std::string name = fmt::format("c{}", ++serial_);
    if (of.empty()) {
      return Did::refused;
    }
    return settle([&] { return pool_.clone(of, name); }, true, [&](Model& m) {
      m.sets[name] = {m.sets[of].tree, of, false};
    });
  }
  Result<Did> destroy() {
    const std::string name = pick(rng_.below(3) != 0);
    if (name.empty()) {
      return Did::refused;
    }
    const Status done = [&] {
      tried = model;
      Model::Set gone = tried->sets.at(name);
      tried->sets.erase(name);
      for (auto& [other, set] : tried->sets) {
        set.origin = set.origin == name ? gone.origin : set.origin;
      }
      return pool_.destroy(name);
    }();
    if (!done.ok() && done.error().code == EBUSY) {
      tried.reset();
      return Did::refused;
    }
    SBENCH_TRY(done);
    model = std::move(*tried);
    tried.reset();
    return Did::durable;
  }

  std::string content(std::uint64_t bytes) {
    return rng_.below(3) == 0 ? std::string(bytes, static_cast<char>('a' + rng_.below(26))) : noise(bytes, rng_.next());
  }
  std::string some_path(ModelTree& tree, bool (*wanted)(mode_t)) {
    std::vector<std::string> paths;
    for (const auto& path : tree.paths()) {
      if (wanted(tree.at(path).mode)) {
        paths.push_back(path);
      }
    }
    return paths.empty() ? std::string("-") : paths[rng_.below(paths.size())];
  }
  std::string new_path(ModelTree& tree) {
    const std::string parent = some_path(tree, [](mode_t mode) { return S_ISDIR(mode); });
    const std::string name = fmt::format("n{}", rng_.below(12));
    return parent.empty() ? name : parent + "/" + name;
  }

  Result<Did> change_tree() {
    const std::string set = pick(false);
    if (set.empty()) {
      return Did::refused;
    }
    SBENCH_TRY_SET(const auto mounted, DatasetFiles::open(pool_, set));
    Files files(*mounted);
    files.caller.umask = 0;
    ModelTree& tree = model.sets[set].tree;
    const auto in = [set](auto change) { return [set, change](Model& m) { change(m.sets[set].tree); }; };
    const std::string path = new_path(tree);
    const std::string file = some_path(tree, [](mode_t mode) { return S_ISREG(mode); });
    const std::string other = some_path(tree, [](mode_t) { return true; });
    switch (rng_.below(12)) {
      case 0:
        if (tree.has(path)) {
          return Did::refused;
        }
        return settle([&] { return files.make(path, S_IFDIR | 0755); }, false,
                      in([&](ModelTree& t) { t.make(path, {S_IFDIR | 0755, {}, {}}); }));
      case 1: {
        const std::string target = content(1 + rng_.below(500));
        if (tree.has(path) || target.find('\0') != std::string::npos) {
          return Did::refused;
        }
        return settle([&] { return files.symlink(path, target); }, false,
                      in([&](ModelTree& t) { t.make(path, {S_IFLNK | 0777, target, {}}); }));
      }
      case 2:
        if (file == "-" || tree.has(path)) {
          return Did::refused;
        }
        return settle([&] { return files.link(file, path); }, false, in([&](ModelTree& t) { t.link(file, path); }));
      case 3:
        if (other.empty()) {
          return Did::refused;
        }
        if (tree.is_directory(other)) {
          if (!tree.is_empty(other)) {
            EXPECT_EQ(code_of(files.remove_directory(other)), ENOTEMPTY);
            return Did::refused;
          }
          return settle([&] { return files.remove_directory(other); }, false, in([&](ModelTree& t) { t.unlink(other); }));
        }
        return settle([&] { return files.unlink(other); }, false, in([&](ModelTree& t) { t.unlink(other); }));
      case 4: return rename(files, tree, other, path, in);
      case 5: {
        if (file == "-") {
          return Did::refused;
        }
        const std::uint64_t size = rng_.below(file_bytes_max_);
        return settle([&] { return files.truncate(file, size); }, false,
                      in([&](ModelTree& t) { t.at(file).content.resize(size); }));
      }
      case 6: {
        if (file == "-" || tree.at(file).content.empty()) {
          return Did::refused;
        }
        const std::uint64_t offset = rng_.below(tree.at(file).content.size());
        const std::uint64_t length = 1 + rng_.below(file_bytes_max_);
        return settle([&] { return files.punch(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length); }, false,
                      in([&](ModelTree& t) {
                        std::string& text = t.at(file).content;
                        const std::size_t end = std::min<std::size_t>(text.size(), offset + length);
                        std::fill(text.begin() + static_cast<std::ptrdiff_t>(offset),
                                  text.begin() + static_cast<std::ptrdiff_t>(end), '\0');
                      }));
      }
      case 7: {
        const std::string name = fmt::format("user.x{}", rng_.below(4));
        const std::string value = content(rng_.below(rng_.below(4) == 0 ? 3000 : 60));
        return settle([&] { return files.set_xattr(other, name, value); }, false,
                      in([&](ModelTree& t) { t.at(other).xattrs[name] = value; }));
      }
      case 8: {
        const mode_t mode = static_cast<mode_t>(rng_.below(01000));
        if (S_ISLNK(tree.at(other).mode)) {
          return Did::refused;
        }
        return settle([&] { return files.chmod(other, mode); }, false,
                      in([&](ModelTree& t) { t.at(other).mode = (t.at(other).mode & S_IFMT) | mode; }));
      }
      default: {
        const std::string to = file == "-" || rng_.below(3) == 0 ? path : file;
        if (tree.has(to) && !S_ISREG(tree.at(to).mode)) {
          return Did::refused;
        }
        if (!tree.has(to)) {
          return settle([&] { return files.make(to, S_IFREG | 0644); }, false,
                        in([&](ModelTree& t) { t.make(to, {S_IFREG | 0644, {}, {}}); }));
        }
        const std::uint64_t offset = rng_.below(file_bytes_max_);
        const std::string text = content(1 + rng_.below(file_bytes_max_ / (1 + rng_.below(8))));
        return settle([&] { return files.write(to, offset, text); }, false, in([&](ModelTree& t) {
          std::string& into = t.at(to).content;
          into.resize(std::max(into.size(), offset + text.size()));
          into.replace(offset, text.size(), text);
        }));
      }
    }
  }

  template <typename In>
  Result<Did> rename(Files& files, ModelTree& tree, const std::string& from, const std::string& to, In&& in) {
    if (from.empty() || from == to || to.compare(0, from.size() + 1, from + "/") == 0) {
      return Did::refused;
    }
    if (tree.has(to)) {
      const bool fits = tree.is_directory(from) == tree.is_directory(to) && (!tree.is_directory(to) || tree.is_empty(to));
      if (!fits || from.compare(0, to.size() + 1, to + "/") == 0) {
        EXPECT_NE(code_of(files.rename(from, to)), 0);
        return Did::refused;
      }
      if (tree.same(from, to)) {
        return Did::refused;
      }
    }
    return settle([&] { return files.rename(from, to); }, false, in([&](ModelTree& t) {
      if (t.has(to)) {
        t.unlink(to);
      }
      t.rename(from, to);
    }));
  }

  Pool& pool_;
  Rng rng_;
  std::uint64_t file_bytes_max_;
  int serial_ = 0;
};

}  // namespace sbench::cow_fs
