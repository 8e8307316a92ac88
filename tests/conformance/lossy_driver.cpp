#include "tests/conformance/lossy_driver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <functional>

#include "drivers/base/file.h"

namespace sbench::test {

namespace {

namespace fs = std::filesystem;

/// The first path below `root`, in some order, whose lstat satisfies `wanted`; empty when none does.
fs::path find_path(const fs::path& root, const std::function<bool(const fs::path&, const struct stat&)>& wanted) {
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    struct stat info {};
    if (::lstat(entry.path().c_str(), &info) == 0 && wanted(entry.path(), info)) {
      return entry.path();
    }
  }
  return {};
}

bool is_big_file(const fs::path&, const struct stat& info) { return S_ISREG(info.st_mode) && info.st_size > 1000; }

void set_mtime(const fs::path& path, timespec time) {
  const std::array<timespec, 2> times = {time, time};
  ::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW);
}

/// Does `act` to a path, keeping the mtimes of it and its directory.
template <typename Act>
void quietly(const fs::path& path, Act&& act) {
  struct stat file {};
  struct stat folder {};
  const bool existed = ::lstat(path.c_str(), &file) == 0;
  ::lstat(path.parent_path().c_str(), &folder);
  act();
  if (existed) {
    set_mtime(path, file.st_mtim);
  }
  set_mtime(path.parent_path(), folder.st_mtim);
}

/// Brings one loss about in the tree `root`; false when there is nothing here to lose.
bool damage_file(Loss loss, const fs::path& root) {
  fs::path victim;
  switch (loss) {
    case Loss::content_byte:
      victim = find_path(root, is_big_file);
      quietly(victim, [&] { std::fstream(victim, std::ios::in | std::ios::out).seekp(500).put('!'); });
      break;
    case Loss::file_tail:
      victim = find_path(root, is_big_file);
      quietly(victim, [&] { fs::resize_file(victim, fs::file_size(victim) - 1); });
      break;
    case Loss::new_file:
      victim = find_path(root, is_big_file);
      quietly(victim, [&] { fs::remove(victim); });
      break;
    case Loss::permission_bit:
      victim = find_path(root, is_big_file);
      ::chmod(victim.c_str(), 0640);
      break;
    case Loss::setuid_bit:
      victim = find_path(root, [](const fs::path&, const struct stat& info) { return (info.st_mode & S_ISUID) != 0; });
      ::chmod(victim.c_str(), 0755);
      break;
    case Loss::owner:
      victim = find_path(root, [](const fs::path&, const struct stat& info) { return info.st_uid == 1000; });
      victim = ::lchown(victim.c_str(), 1000, 1000) == 0 ? victim : fs::path();
      break;
    case Loss::mtime_nanoseconds:
    case Loss::directory_mtime: {
      struct stat found {};
      victim = find_path(root, [&](const fs::path&, const struct stat& info) {
        found = info;
        return S_ISDIR(info.st_mode) == (loss == Loss::directory_mtime);
      });
      set_mtime(victim, {found.st_mtim.tv_sec, 0});
      break;
    }
    default: return false;
  }
  return !victim.empty();
}

bool damage_special(Loss loss, const fs::path& root) {
  fs::path victim;
  const auto of_type = [&](mode_t type) {
    return find_path(root,
                     [type](const fs::path&, const struct stat& info) { return (info.st_mode & S_IFMT) == type; });
  };
  switch (loss) {
    case Loss::xattr:
    case Loss::capability: {
      const char* name = loss == Loss::xattr ? "user.note" : "security.capability";
      victim = find_path(root, [name](const fs::path& path, const struct stat&) {
        return ::lgetxattr(path.c_str(), name, nullptr, 0) > 0;
      });
      ::lremovexattr(victim.c_str(), name);
      break;
    }
    case Loss::hard_link:
      victim = find_path(
          root, [](const fs::path&, const struct stat& info) { return S_ISREG(info.st_mode) && info.st_nlink > 1; });
      quietly(victim, [&] {
        const fs::path copy = victim.string() + "-copy";
        fs::copy_file(victim, copy);
        fs::rename(copy, victim);
      });
      break;
    case Loss::symlink_target:
      victim = of_type(S_IFLNK);
      quietly(victim, [&] {
        fs::remove(victim);
        fs::create_symlink("elsewhere", victim);
      });
      break;
    case Loss::device_number:
      victim = of_type(S_IFCHR);
      quietly(victim, [&] {
        fs::remove(victim);
        ::mknod(victim.c_str(), S_IFCHR | 0600, ::makedev(1, 9));
      });
      break;
    case Loss::fifo:
      victim = of_type(S_IFIFO);
      quietly(victim, [&] {
        fs::remove(victim);
        std::ofstream regular(victim);
      });
      break;
    case Loss::empty_directory:
      victim = find_path(root, [](const fs::path& path, const struct stat& info) {
        return S_ISDIR(info.st_mode) && fs::is_empty(path);
      });
      quietly(victim, [&] { fs::remove(victim); });
      break;
    default: return false;
  }
  return !victim.empty();
}

/// Lets a file of the parent that the layer deleted show again.
bool resurrect(const fs::path& root, const fs::path& parent, bool in_kept_directory) {
  const fs::path old = find_path(parent, [&](const fs::path& path, const struct stat& info) {
    const fs::path same = root / path.lexically_relative(parent);
    return S_ISREG(info.st_mode) && !fs::exists(fs::symlink_status(same)) &&
           fs::is_directory(fs::symlink_status(same.parent_path())) &&
           (same.parent_path().filename() == "hidden") == in_kept_directory;
  });
  if (old.empty()) {
    return false;
  }
  const fs::path same = root / old.lexically_relative(parent);
  quietly(same, [&] { fs::copy_file(old, same); });
  return true;
}

class LossyDriver final : public Driver {
 public:
  LossyDriver(Driver& inner, Loss loss) : inner_(inner), loss_(loss) {}

  Status prepare(const LayerId& key, const ParentId& parent) override {
    parents_[key] = parent;
    return inner_.prepare(key, parent);
  }
  Status commit(const LayerId& name, const LayerId& key) override {
    if (!lost_) {
      SBENCH_TRY(lose(key));
    }
    return inner_.commit(name, key);
  }
  Status remove(const LayerId& id) override { return loss_ == Loss::parents ? Status() : inner_.remove(id); }
  Result<Mount> mount(const LayerId& id) override { return inner_.mount(id); }
  Result<std::uint64_t> apply(const LayerId& key, ByteSource& tar) override {
    SBENCH_TRY_SET(const std::uint64_t bytes, inner_.apply(key, tar));
    if (loss_ == Loss::xattrs_in_apply) {
      SBENCH_TRY_SET(auto tree, inner_.mount(key));
      damage_special(Loss::xattr, tree.path());
      damage_special(Loss::capability, tree.path());
      SBENCH_TRY(tree.release());
    }
    return bytes;
  }
  Status diff(const LayerId& id, const ParentId& parent, ByteSink& tar) override {
    return inner_.diff(id, loss_ == Loss::whiteouts_in_diff ? ParentId{} : parent, tar);  // all content, no deletion
  }
  Result<std::vector<Change>> changes(const LayerId& id, const ParentId& parent) override {
    return inner_.changes(id, parent);
  }
  Result<Usage> usage(const LayerId& id) override { return inner_.usage(id); }
  Result<Usage> store_usage() override { return inner_.store_usage(); }
  Status sync() override { return inner_.sync(); }
  std::vector<std::pair<std::string, std::string>> status() override { return inner_.status(); }
  Capabilities capabilities() const override { return inner_.capabilities(); }
  Result<std::vector<std::pair<LayerId, ParentId>>> list() override { return inner_.list(); }

 private:
  Status lose(const LayerId& key) {
    SBENCH_TRY_SET(auto tree, inner_.mount(key));
    lost_ = damage_file(loss_, tree.path()) || damage_special(loss_, tree.path());
    if (const auto& parent = parents_[key];
        !lost_ && parent && (loss_ == Loss::deletion || loss_ == Loss::opaqueness)) {
      SBENCH_TRY_SET(auto lower, inner_.mount(*parent));
      lost_ = resurrect(tree.path(), lower.path(), loss_ == Loss::opaqueness);
    }
    return tree.release();
  }

  Driver& inner_;
  Loss loss_;
  bool lost_ = false;
  std::map<LayerId, ParentId> parents_;
};

}  // namespace

const char* to_string(Loss loss) {
  static constexpr std::array<const char*, kLosses> names = {"nothing",
                                                             "content_byte",
                                                             "file_tail",
                                                             "permission_bit",
                                                             "setuid_bit",
                                                             "owner",
                                                             "mtime_nanoseconds",
                                                             "directory_mtime",
                                                             "xattr",
                                                             "capability",
                                                             "hard_link",
                                                             "symlink_target",
                                                             "device_number",
                                                             "fifo",
                                                             "deletion",
                                                             "opaqueness",
                                                             "new_file",
                                                             "empty_directory",
                                                             "whiteouts_in_diff",
                                                             "xattrs_in_apply",
                                                             "parents"};
  return names[static_cast<std::size_t>(loss)];
}

std::unique_ptr<Driver> make_lossy_driver(Driver& inner, Loss loss) {
  return std::make_unique<LossyDriver>(inner, loss);
}

}  // namespace sbench::test
