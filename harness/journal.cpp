#include "harness/journal.h"

#include <libmount/libmount.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/process.h"
#include "harness/session.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

/// A loop device over a file below lets go of it a moment after its own mount went.
constexpr int kUnmountPatience_ms = 5000;

fs::path entry_path(const fs::path& store_root) {
  return runtime_directory() / "journal" / sha256_hex(store_root.string()).substr(0, 16);
}

/// The first line of an entry is the root, the second the namespace of its mounts.
std::pair<std::string, std::string> read_entry(const fs::path& path) {
  const std::string text = read_trimmed(path);
  const auto end = std::min(text.find('\n'), text.size());
  return {text.substr(0, end), text.substr(std::min(end + 1, text.size()))};
}

}  // namespace

Status journal_add(const fs::path& store_root) {
  SBENCH_TRY(make_directories(runtime_directory() / "journal"));
  return write_text_atomic(entry_path(store_root), fmt::format("{}\n{}\n", store_root.string(), namespace_of("self", "mnt")));
}

Status journal_remove(const fs::path& store_root) {
  if (::unlink(entry_path(store_root).c_str()) != 0 && errno != ENOENT) {
    return errno_error("cannot remove {}", entry_path(store_root).string());
  }
  return {};
}

std::vector<fs::path> journal_entries() {
  std::vector<fs::path> roots;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(runtime_directory() / "journal", error)) {
    const std::string root = read_entry(entry.path()).first;
    if (!root.empty() && root.front() == '/') {
      roots.emplace_back(root);
    }
  }
  std::sort(roots.begin(), roots.end());
  return roots;
}

bool is_mounted_elsewhere(const fs::path& store_root) {
  const std::string where = read_entry(entry_path(store_root)).second;
  if (where.empty() || where == namespace_of("self", "mnt")) {
    return false;
  }
  const auto processes = all_processes();
  return std::any_of(processes.begin(), processes.end(),
                     [&](pid_t pid) { return namespace_of(std::to_string(pid), "mnt") == where; });
}

Result<int> unmount_below(const fs::path& directory) {
  std::vector<std::string> targets;
  libmnt_table* table = mnt_new_table_from_file("/proc/self/mountinfo");
  if (table == nullptr) {
    return plain_error(EIO, "cannot read /proc/self/mountinfo");
  }
  libmnt_iter* iterator = mnt_new_iter(MNT_ITER_BACKWARD);  // latest first: what covers another comes before it
  libmnt_fs* mounted = nullptr;
  const std::string prefix = directory.string();
  while (mnt_table_next_fs(table, iterator, &mounted) == 0) {
    const std::string target = mnt_fs_get_target(mounted);
    if (target == prefix || target.starts_with(prefix + "/")) {
      targets.push_back(target);
    }
  }
  mnt_free_iter(iterator);
  mnt_unref_table(table);
  for (const auto& target : targets) {
    SBENCH_TRY(unmount(target, kUnmountPatience_ms));
  }
  return static_cast<int>(targets.size());
}

}  // namespace sbench
