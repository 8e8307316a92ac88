#include "harness/semantic_check.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"
#include "drivers/base/user_namespace.h"
#include "drivers/layer/tree.h"
#include "harness/layer_changes.h"

namespace sbench {

namespace {

/// A tmpfs that is mounted nowhere: reached through its descriptor, gone with it.
class PlainDirectory {
 public:
  static Result<PlainDirectory> make() {
    const Fd context(static_cast<int>(::syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC)));
    if (!context.valid() || ::syscall(SYS_fsconfig, context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
      return errno_error("cannot make a tmpfs for the semantic check");
    }
    PlainDirectory plain;
    plain.fd_ = Fd(static_cast<int>(::syscall(SYS_fsmount, context.get(), FSMOUNT_CLOEXEC, 0)));
    if (!plain.fd_.valid()) {
      return errno_error("cannot make a tmpfs for the semantic check");
    }
    if (::mkdir(plain.path().c_str(), 0755) != 0 || ::chmod(plain.path().c_str(), 0755) != 0) {
      return errno_error("cannot make {}", plain.path().string());
    }
    return plain;
  }

  std::filesystem::path path() const { return fmt::format("/proc/self/fd/{}/tree", fd_.get()); }
  bool has_user_xattrs() const {
    return ::setxattr(path().c_str(), "user.probe", "y", 1, 0) == 0 && ::removexattr(path().c_str(), "user.probe") == 0;
  }

 private:
  Fd fd_;
};

class SemanticCheck {
 public:
  SemanticCheck(Driver& driver, const std::vector<Deviation>& known) : driver_(driver), known_(known) {}

  Result<SemanticFindings> run(std::uint64_t seed) {
    SBENCH_TRY_SET(const auto plain, PlainDirectory::make());
    const auto layers = make_layer_changes(
        seed, {.user_xattrs = plain.has_user_xattrs(), .devices = !in_user_namespace(), .owners = may_give_files_away()});
    for (std::size_t i = 0; i < layers.size() && found_.differences.empty(); ++i) {
      SBENCH_TRY(apply_changes(layers[i], plain.path(), i));
      SBENCH_TRY_SET(const Tree expected, read_tree(plain.path()));
      SBENCH_TRY(write_layer(layers[i], i));
      SBENCH_TRY(compare(written_.back(), expected, "written"));
      SBENCH_TRY(transfer_layer());
      SBENCH_TRY(compare(unpacked_.back(), without_root_time(expected), "packed and unpacked"));
      SBENCH_TRY(remember_folder_times());
      lower_ = expected;
    }
    check_parents_stay();
    return found_;
  }

  /// Deletes what was made, children first; the first error, after trying all.
  Status remove_all() {
    Status first;
    for (auto* chain : {&written_, &unpacked_}) {
      for (auto id = chain->rbegin(); id != chain->rend(); ++id) {
        if (auto removed = driver_.remove(*id); !removed.ok() && first.ok()) {
          first = removed;
        }
      }
      chain->clear();
    }
    return first;
  }

 private:
  static ParentId last_of(const std::vector<LayerId>& chain) {
    return chain.empty() ? ParentId{} : ParentId{chain.back()};
  }

  /// A tar does not carry the root directory itself.
  static Tree without_root_time(Tree tree) {
    tree["."].mtime_ns = 0;
    return tree;
  }

  Status write_layer(const LayerChanges& changes, std::size_t serial) {
    const LayerId key = fmt::format("sbench-check-active-{}", serial);
    const LayerId name = fmt::format("sbench-check-written-{}", serial);
    SBENCH_TRY(driver_.prepare(key, last_of(written_)));
    written_.push_back(key);
    {
      SBENCH_TRY_SET(auto tree, driver_.mount(key));
      SBENCH_TRY(apply_changes(changes, tree.path(), serial));
      SBENCH_TRY(tree.release());
    }
    SBENCH_TRY(driver_.commit(name, key));
    written_.back() = name;
    return {};
  }

  /// Packs the newest written layer and unpacks it on top of the second chain.
  Status transfer_layer() {
    const ParentId parent = written_.size() < 2 ? ParentId{} : ParentId{written_[written_.size() - 2]};
    MemorySink tar;
    SBENCH_TRY(driver_.diff(written_.back(), parent, tar));
    SBENCH_TRY_SET(const auto changes, driver_.changes(written_.back(), parent));
    listed_.clear();
    for (const auto& change : changes) {
      listed_.insert(change.path);
    }
    comparing_unpacked_ = true;
    const LayerId key = fmt::format("sbench-check-unpacked-{}", unpacked_.size());
    SBENCH_TRY(driver_.prepare(key, last_of(unpacked_)));
    unpacked_.push_back(key);
    MemorySource source(tar.data());
    SBENCH_TRY_SET([[maybe_unused]] const auto bytes, driver_.apply(key, source));
    return driver_.commit(key, key);
  }

  /// A naive diff does not look at the times of directories, as Docker's does not: one that was
  /// written to and ended up with the same entries keeps its older time when unpacked.
  Tree with_times_not_carried(Tree expected, const Tree& actual) const {
    for (auto& [path, entry] : expected) {
      const auto before = folder_times_.find(path);
      const auto now = actual.find(path);
      if (S_ISDIR(entry.mode) && before != folder_times_.end() && now != actual.end() && unlisted(path) &&
          now->second.mtime_ns == before->second) {
        entry.mtime_ns = before->second;
      }
    }
    return expected;
  }

  bool unlisted(const std::string& path) const { return comparing_unpacked_ && !listed_.contains(path); }

  /// For the next layer: the times directories have in the unpacked chain now.
  Status remember_folder_times() {
    SBENCH_TRY_SET(auto mounted, driver_.mount(unpacked_.back()));
    SBENCH_TRY_SET(const Tree tree, read_tree(mounted.path(), {.content = false}));
    folder_times_.clear();
    for (const auto& [path, entry] : tree) {
      if (S_ISDIR(entry.mode)) {
        folder_times_[path] = entry.mtime_ns;
      }
    }
    comparing_unpacked_ = false;
    return mounted.release();
  }

  Status compare(const LayerId& id, const Tree& expected, const char* how) {
    SBENCH_TRY_SET(auto mounted, driver_.mount(id));
    SBENCH_TRY_SET(Tree actual, read_tree(mounted.path()));
    SBENCH_TRY(mounted.release());
    if (expected.at(".").mtime_ns == 0) {
      actual = without_root_time(std::move(actual));
    }
    const Tree allowed = excuse(with_times_not_carried(expected, actual), actual, lower_, known_, &found_.deviations);
    for (const auto& difference : compare_trees(allowed, actual)) {
      found_.differences.push_back(fmt::format("layer {}, {}: {}", written_.size(), how, difference));
    }
    return {};
  }

  void check_parents_stay() {
    if (written_.size() > 1 && driver_.remove(written_.front()).ok()) {
      found_.differences.push_back("a layer with children could be removed");
      written_.erase(written_.begin());
    }
  }

  Driver& driver_;
  std::vector<LayerId> written_;   ///< through mount(), base first
  std::vector<LayerId> unpacked_;  ///< the same layers, through diff() and apply()
  const std::vector<Deviation>& known_;
  SemanticFindings found_;
  Tree lower_;  ///< the layers below the newest, as they should be
  std::set<std::string> listed_;                      ///< what the newest layer's changes() named
  std::map<std::string, std::int64_t> folder_times_;  ///< in the unpacked chain, before the newest layer
  bool comparing_unpacked_ = false;
};

}  // namespace

Result<SemanticFindings> semantic_check(Driver& driver, std::uint64_t seed, const std::vector<Deviation>& known) {
  SemanticCheck check(driver, known);
  auto found = check.run(seed);
  const Status removed = check.remove_all();
  if (found.ok() && !removed.ok()) {
    return removed.error();
  }
  return found;
}

}  // namespace sbench
