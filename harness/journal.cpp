#include "harness/journal.h"

#include <libmount/libmount.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "harness/session.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

/// A loop device over a file below lets go of it a moment after its own mount went.
constexpr int kUnmountPatience_ms = 5000;

fs::path entry_path(const fs::path& store_root) {
  return runtime_directory() / "journal" / sha256_hex(store_root.string()).substr(0, 16);
}

}  // namespace

Status journal_add(const fs::path& store_root) {
  SBENCH_TRY(make_directories(runtime_directory() / "journal"));
  return write_text_atomic(entry_path(store_root), store_root.string() + "\n");
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
    const std::string root = read_trimmed(entry.path());
    if (!root.empty() && root.front() == '/') {
      roots.emplace_back(root);
    }
  }
  std::sort(roots.begin(), roots.end());
  return roots;
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
