#include "harness/layer_changes.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <set>
#include <string_view>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/rng.h"

namespace sbench {

namespace {

using Kind = LayerChange::Kind;

std::uint64_t path_hash(const std::string& path, std::uint64_t serial) {
  return xxh3(std::as_bytes(std::span(path.data(), path.size())), serial);
}

std::string content_of(const LayerChange& change, std::uint64_t serial) {
  Rng rng(path_hash(change.path, serial), "content");
  std::string text(change.number, '\0');
  for (auto& c : text) {
    c = static_cast<char>('a' + rng.below(26));
  }
  return text;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

/// One list of changes being carried out below one root.
class Applier {
 public:
  Applier(const std::filesystem::path& root, std::uint64_t serial) : root_(root), serial_(serial) {}

  Status apply(const LayerChange& change) {
    note_touched(change);
    if (!carry_out(change)) {
      return errno_error("cannot carry out layer change {} on {}", static_cast<int>(change.kind),
                         (root_ / change.path).string());
    }
    return {};
  }

  /// Sets the mtime of everything touched that is still there.
  Status set_times() const {
    for (const auto& path : touched_) {
      const std::uint64_t hash = path_hash(path, serial_);
      const timespec time = {static_cast<time_t>(1'600'000'000 + serial_ * 100'000 + hash % 90'000),
                             static_cast<long>(1 + (hash >> 20) % 999'999'998)};
      const std::array<timespec, 2> times = {time, time};
      if (::utimensat(AT_FDCWD, (root_ / path).c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0 && errno != ENOENT &&
          errno != ENOTDIR) {
        return errno_error("cannot set the times of {}", (root_ / path).string());
      }
    }
    return {};
  }

 private:
  void note_touched(const LayerChange& change) {
    if (change.kind == Kind::chmod || change.kind == Kind::chown) {
      return;
    }
    touched_.insert(change.path);
    const std::set<Kind> inside = {Kind::append,    Kind::patch,        Kind::truncate,
                                   Kind::set_xattr, Kind::remove_xattr, Kind::set_times};
    if (!inside.contains(change.kind)) {
      touched_.insert(parent_of(change.path));
    }
    if (change.kind == Kind::rename) {
      touched_.insert(change.target);
      touched_.insert(parent_of(change.target));
      std::set<std::string> moved;  // what was touched below the renamed directory has another path now
      for (const auto& path : touched_) {
        if (path.starts_with(change.path + "/")) {
          moved.insert(change.target + path.substr(change.path.size()));
        }
      }
      touched_.merge(moved);
    }
  }

  bool write_at(const std::string& path, int flags, const std::string& text, off_t offset) const {
    const Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | flags, 0644));
    return fd.valid() && (offset < 0 || ::lseek(fd.get(), offset, SEEK_SET) == offset) &&
           write_all(fd.get(), text, path).ok();
  }

  bool carry_out(const LayerChange& change) const {
    const std::string path = (root_ / change.path).string();
    const std::string target = (root_ / change.target).string();
    const auto mode = static_cast<mode_t>(change.number);
    switch (change.kind) {
      case Kind::make_dir: return ::mkdir(path.c_str(), 0700) == 0 && ::chmod(path.c_str(), mode) == 0;
      case Kind::write_file: return write_at(path, O_CREAT | O_TRUNC, content_of(change, serial_), -1);
      case Kind::append: return write_at(path, O_APPEND, content_of(change, serial_), -1);
      case Kind::patch: return write_at(path, 0, content_of(change, serial_), static_cast<off_t>(change.number));
      case Kind::truncate: return ::truncate(path.c_str(), static_cast<off_t>(change.number)) == 0;
      case Kind::chmod: return ::chmod(path.c_str(), mode) == 0;
      case Kind::chown:
        return ::lchown(path.c_str(), static_cast<uid_t>(change.number), static_cast<gid_t>(change.number + 1)) == 0;
      case Kind::set_xattr: return set_xattr(path, change.target);
      case Kind::remove_xattr: return ::lremovexattr(path.c_str(), change.target.c_str()) == 0;
      case Kind::symlink: return ::symlink(change.target.c_str(), path.c_str()) == 0;
      case Kind::hard_link: return ::link(target.c_str(), path.c_str()) == 0;
      case Kind::rename: return ::rename(path.c_str(), target.c_str()) == 0;
      case Kind::unlink: return ::unlink(path.c_str()) == 0;
      case Kind::remove_tree: return remove_tree(path).ok();
      case Kind::make_fifo: return ::mkfifo(path.c_str(), mode) == 0;
      case Kind::make_device:
        return ::mknod(path.c_str(), S_IFCHR | 0600, ::makedev(1, static_cast<unsigned>(change.number))) == 0;
      case Kind::set_times: return true;  // being touched is all
    }
    return false;
  }

  bool set_xattr(const std::string& path, const std::string& name) const {
    if (name == "security.capability") {
      // A version 2 capability set: cap_net_raw, permitted and effective.
      const std::array<unsigned char, 20> value = {1, 0, 0, 2, 0, 0x20};
      return ::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) == 0;
    }
    const std::uint64_t value = path_hash(path.substr(path.rfind('/')), serial_);  // eight binary bytes
    return ::lsetxattr(path.c_str(), name.c_str(), &value, sizeof value, 0) == 0;
  }

  std::filesystem::path root_;
  std::uint64_t serial_;
  std::set<std::string> touched_;
};

const std::string kLongName(200, 'n');
const std::string kDeepFolder =
    "deep/" + std::string(90, 'a') + "/" + std::string(90, 'b') + "/" + std::string(90, 'c');

LayerChanges base_layer(bool user_xattrs) {
  LayerChanges layer = {
      {Kind::make_dir, "etc", "", 0755},
      {Kind::make_dir, "usr", "", 0755},
      {Kind::make_dir, "usr/bin", "", 0755},
      {Kind::make_dir, "usr/lib", "", 0755},
      {Kind::make_dir, "var", "", 0755},
      {Kind::make_dir, "var/spool", "", 01777},
      {Kind::make_dir, "var/mail", "", 02775},
      {Kind::make_dir, "var/shared", "", 02775},
      {Kind::write_file, "var/shared/journal", "", 10},
      {Kind::make_dir, "var/hidden", "", 0700},
      {Kind::write_file, "var/hidden/one", "", 11},
      {Kind::write_file, "var/hidden/two", "", 12},
      {Kind::make_dir, "var/hidden/sub", "", 0755},
      {Kind::write_file, "var/hidden/sub/three", "", 13},
      {Kind::make_dir, "gone", "", 0755},
      {Kind::write_file, "gone/one", "", 100},
      {Kind::make_dir, "gone/sub", "", 0755},
      {Kind::write_file, "gone/sub/two", "", 200},
      {Kind::write_file, "usr/bin/tool", "", 100'000},
      {Kind::chmod, "usr/bin/tool", "", 04755},
      {Kind::write_file, "usr/bin/ping", "", 4096},
      {Kind::set_xattr, "usr/bin/ping", "security.capability", 0},
      {Kind::write_file, "usr/lib/linked", "", 5000},
      {Kind::hard_link, "usr/lib/linked-2", "usr/lib/linked", 0},
      {Kind::hard_link, "usr/bin/linked-3", "usr/lib/linked", 0},
      {Kind::symlink, "usr/lib/relative", "../bin/tool", 0},
      {Kind::symlink, "usr/lib/absolute", "/etc/file-1", 0},
      {Kind::symlink, "usr/lib/dangling", "nowhere/at/all", 0},
      {Kind::symlink, "lib", "usr/lib", 0},
      {Kind::make_fifo, "var/fifo", "", 0640},
      {Kind::make_device, "var/null", "", 3},
      {Kind::make_dir, "deep", "", 0755},
      {Kind::make_dir, parent_of(parent_of(kDeepFolder)), "", 0755},
      {Kind::make_dir, parent_of(kDeepFolder), "", 0755},
      {Kind::make_dir, kDeepFolder, "", 0755},
      {Kind::write_file, kDeepFolder + "/" + kLongName, "", 77},
      {Kind::write_file, "etc/with space and \n newline", "", 5},
      {Kind::write_file, "etc/ünïcode-名", "", 6},
      {Kind::write_file, "etc/unreadable", "", 7},
      {Kind::chmod, "etc/unreadable", "", 0},
      {Kind::write_file, "etc/owned", "", 8},
      {Kind::chown, "etc/owned", "", 1000},
      {Kind::chown, "var/mail", "", 8},
      {Kind::chown, "usr/lib/relative", "", 33},
  };
  const std::array<std::uint64_t, 10> sizes = {0, 1, 511, 4095, 4096, 4097, 8192, 20'000, 65'536, 70'001};
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    layer.push_back({Kind::write_file, fmt::format("etc/file-{}", i), "", sizes[i]});
  }
  if (user_xattrs) {
    layer.push_back({Kind::set_xattr, "etc/file-1", "user.note", 0});
    layer.push_back({Kind::set_xattr, "etc/file-2", "user.note", 0});
    layer.push_back({Kind::set_xattr, "var/spool", "user.folder", 0});
  }
  return layer;
}

/// Every awkward change to the base layer.
LayerChanges awkward_layer(bool user_xattrs) {
  LayerChanges layer = {
      {Kind::append, "etc/file-5", "", 10},
      {Kind::append, "var/shared/journal", "", 10},
      {Kind::patch, "etc/file-7", "", 5000},
      {Kind::patch, "etc/file-4", "", 6000},  // leaves a hole
      {Kind::truncate, "etc/file-8", "", 100},
      {Kind::truncate, "etc/file-6", "", 9000},
      {Kind::chmod, "etc/file-1", "", 0600},
      {Kind::chown, "usr/bin/tool", "", 1000},  // drops setuid
      {Kind::chmod, "usr/lib", "", 0711},
      {Kind::chown, "var/spool", "", 1001},
      {Kind::unlink, "etc/file-0", "", 0},
      {Kind::unlink, "usr/lib/dangling", "", 0},
      {Kind::unlink, "var/null", "", 0},
      {Kind::remove_tree, "gone", "", 0},
      // an opaque directory: the old one removed, a new one of the same name
      {Kind::remove_tree, "var/hidden", "", 0},
      {Kind::make_dir, "var/hidden", "", 0755},
      {Kind::write_file, "var/hidden/two", "", 21},
      {Kind::make_dir, "var/hidden/sub", "", 0755},
      {Kind::write_file, "var/hidden/sub/four", "", 22},
      // one kind of file in the place of another
      {Kind::unlink, "etc/file-2", "", 0},
      {Kind::make_dir, "etc/file-2", "", 0755},
      {Kind::write_file, "etc/file-2/inside", "", 23},
      {Kind::remove_tree, "var/mail", "", 0},
      {Kind::write_file, "var/mail", "", 24},
      {Kind::unlink, "etc/file-3", "", 0},
      {Kind::symlink, "etc/file-3", "file-1", 0},
      {Kind::unlink, "usr/lib/relative", "", 0},
      {Kind::write_file, "usr/lib/relative", "", 25},
      {Kind::unlink, "var/fifo", "", 0},
      {Kind::make_device, "var/fifo", "", 5},
      {Kind::rename, "etc/file-9", "etc/renamed", 0},
      {Kind::rename, "etc/owned", "usr/lib/owned", 0},
      {Kind::make_dir, "fresh", "", 0755},
      {Kind::write_file, "fresh/file", "", 26},
      {Kind::rename, "fresh", "usr/moved", 0},
      {Kind::make_dir, "empty", "", 0750},
      {Kind::append, kDeepFolder + "/" + kLongName, "", 30},
      {Kind::write_file, "var/pair", "", 31},
      {Kind::hard_link, "var/pair-2", "var/pair", 0},
  };
  if (user_xattrs) {
    layer.push_back({Kind::set_xattr, "etc/renamed", "user.late", 0});
    layer.push_back({Kind::remove_xattr, "etc/file-1", "user.note", 0});
  }
  return layer;
}

/// Takes back or repeats what the awkward layer did.
LayerChanges reversing_layer() {
  return {
      {Kind::write_file, "etc/file-0", "", 40},
      {Kind::rename, "etc/file-5", "etc/file-7", 0},
      {Kind::unlink, "usr/lib/linked-2", "", 0},
      {Kind::unlink, "var/hidden/two", "", 0},
      {Kind::write_file, "var/hidden/one", "", 41},
      {Kind::make_dir, "gone", "", 0700},
      {Kind::write_file, "gone/three", "", 42},
      {Kind::remove_tree, "etc/file-2", "", 0},
      {Kind::write_file, "etc/file-2", "", 43},
      {Kind::set_times, "etc/renamed", "", 0},
      {Kind::remove_xattr, "usr/bin/ping", "security.capability", 0},
      {Kind::remove_tree, "usr/moved", "", 0},
      {Kind::chmod, "empty", "", 0755},
      {Kind::append, "var/mail", "", 44},
  };
}

/// Draws changes that are possible in a tree it keeps track of. It works in a
/// folder of its own, so that it knows every name there.
class RandomChanges {
 public:
  explicit RandomChanges(Rng& rng) : rng_(rng) {}

  LayerChanges next_layer(std::size_t count) {
    LayerChanges layer;
    if (folders_.empty()) {
      folders_.push_back("random");
      layer.push_back({Kind::make_dir, "random", "", 0755});
    }
    while (layer.size() < count) {
      add_one(layer);
    }
    return layer;
  }

 private:
  std::string new_name() { return fmt::format("{}/n{}", folders_[rng_.below(folders_.size())], serial_++); }

  void add_one(LayerChanges& layer) {
    const std::uint64_t choice = files_.size() < 4 ? rng_.below(3) : rng_.below(11);
    if (choice == 0) {
      folders_.push_back(new_name());
      layer.push_back({Kind::make_dir, folders_.back(), "", 0700 + rng_.below(0100)});
    } else if (choice <= 2) {
      files_.push_back(new_name());
      layer.push_back({Kind::write_file, files_.back(), "", rng_.below(9000)});
    } else {
      change_file(layer, choice);
    }
  }

  void change_file(LayerChanges& layer, std::uint64_t choice) {
    const std::size_t at = rng_.below(files_.size());
    std::string& file = files_[at];
    switch (choice) {
      case 3: layer.push_back({Kind::append, file, "", 1 + rng_.below(5000)}); break;
      case 4: layer.push_back({Kind::patch, file, "", 1 + rng_.below(5000)}); break;
      case 5: layer.push_back({Kind::truncate, file, "", rng_.below(9000)}); break;
      case 6: layer.push_back({Kind::chmod, file, "", rng_.below(01000)}); break;
      case 7: layer.push_back({Kind::chown, file, "", 1000 + rng_.below(50)}); break;
      case 8: layer.push_back({Kind::set_times, file, "", 0}); break;
      case 9: {
        const std::string target = new_name();
        layer.push_back({Kind::rename, file, target, 0});
        file = target;
        break;
      }
      default:
        layer.push_back({Kind::unlink, file, "", 0});
        files_.erase(files_.begin() + static_cast<std::ptrdiff_t>(at));
    }
  }

  Rng& rng_;
  std::vector<std::string> folders_;
  std::vector<std::string> files_;
  std::uint64_t serial_ = 0;
};

void leave_out(std::vector<LayerChanges>& layers, const PossibleChanges& possible) {
  std::set<std::string> devices;
  for (auto& layer : layers) {
    std::erase_if(layer, [&](const LayerChange& change) {
      if (change.kind == Kind::make_device && !possible.devices) {
        devices.insert(change.path);
        return true;
      }
      const bool on_device = devices.contains(change.path) || devices.contains(change.target);
      return on_device || (change.kind == Kind::chown && !possible.owners);
    });
  }
}

}  // namespace

Status apply_changes(const LayerChanges& changes, const std::filesystem::path& root, std::uint64_t serial) {
  Applier applier(root, serial);
  for (const auto& change : changes) {
    SBENCH_TRY(applier.apply(change));
  }
  return applier.set_times();
}

std::vector<LayerChanges> make_layer_changes(std::uint64_t seed, const PossibleChanges& possible) {
  const bool user_xattrs = possible.user_xattrs;
  Rng rng(seed, "semantic_check");
  RandomChanges random(rng);
  auto base = base_layer(user_xattrs);
  const auto seeded = random.next_layer(20);
  base.insert(base.end(), seeded.begin(), seeded.end());
  std::vector<LayerChanges> layers = {base, awkward_layer(user_xattrs), reversing_layer(), random.next_layer(40),
                                      random.next_layer(40)};
  leave_out(layers, possible);
  return layers;
}

}  // namespace sbench
