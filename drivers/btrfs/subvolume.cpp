#include "drivers/btrfs/subvolume.h"

#include <btrfsutil.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/btrfs_tree.h>
#include <sys/ioctl.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/btrfs/tree_search.h"

namespace sbench::btrfs {

namespace {

/// libbtrfsutil leaves errno as the failing call set it.
Error util_error(btrfs_util_error code, const char* verb, const std::filesystem::path& path) {
  const int saved = errno != 0 ? errno : EIO;
  return make_error(saved, "cannot {} {} ({})", verb, path.string(), btrfs_util_strerror(code));
}

Status checked(btrfs_util_error code, const char* verb, const std::filesystem::path& path) {
  if (code != BTRFS_UTIL_OK) {
    return util_error(code, verb, path);
  }
  return {};
}

Result<std::uint64_t> subvolume_id(const std::filesystem::path& path) {
  std::uint64_t id = 0;
  SBENCH_TRY(checked(btrfs_util_subvolume_id(path.c_str(), &id), "find the subvolume", path));
  return id;
}

/// The subvolume and those nested below it, the nested ones first.
Result<std::vector<std::filesystem::path>> with_nested(const std::filesystem::path& path) {
  btrfs_util_subvolume_iterator* raw = nullptr;
  SBENCH_TRY(
      checked(btrfs_util_create_subvolume_iterator(path.c_str(), 0, BTRFS_UTIL_SUBVOLUME_ITERATOR_POST_ORDER, &raw),
              "list the subvolumes below", path));
  const std::unique_ptr<btrfs_util_subvolume_iterator, decltype(&btrfs_util_destroy_subvolume_iterator)> iterator(
      raw, &btrfs_util_destroy_subvolume_iterator);
  std::vector<std::filesystem::path> found;
  for (;;) {
    char* name = nullptr;
    const btrfs_util_error code = btrfs_util_subvolume_iterator_next(iterator.get(), &name, nullptr);
    if (code == BTRFS_UTIL_ERROR_STOP_ITERATION) {
      break;
    }
    SBENCH_TRY(checked(code, "list the subvolumes below", path));
    found.push_back(path / name);
    std::free(name);
  }
  found.push_back(path);
  return found;
}

}  // namespace

Status create_subvolume(const std::filesystem::path& path) {
  return checked(btrfs_util_create_subvolume(path.c_str(), 0, nullptr, nullptr), "create the subvolume", path);
}

Status snapshot_subvolume(const std::filesystem::path& source, const std::filesystem::path& path) {
  return checked(btrfs_util_create_snapshot(source.c_str(), path.c_str(), 0, nullptr, nullptr), "make the snapshot",
                 path);
}

Status set_read_only(const std::filesystem::path& path, bool read_only) {
  return checked(btrfs_util_set_subvolume_read_only(path.c_str(), read_only), "set the read-only flag of", path);
}

Result<std::vector<std::uint64_t>> delete_subvolume(const std::filesystem::path& path) {
  SBENCH_TRY_SET(const auto doomed, with_nested(path));
  if (doomed.size() > 1) {
    SBENCH_TRY(set_read_only(path, false));  // else the nested ones cannot be taken out of it
  }
  std::vector<std::uint64_t> ids;
  for (const auto& each : doomed) {
    SBENCH_TRY_SET(const std::uint64_t id, subvolume_id(each));
    SBENCH_TRY(checked(btrfs_util_delete_subvolume(each.c_str(), 0), "delete the subvolume", each));
    ids.push_back(id);
  }
  return ids;
}

Status commit_transaction(const std::filesystem::path& mount) {
  return checked(btrfs_util_sync(mount.c_str()), "sync", mount);
}

Result<std::vector<std::uint64_t>> deleted_subvolumes(const std::filesystem::path& mount) {
  std::uint64_t* raw = nullptr;
  std::size_t count = 0;
  SBENCH_TRY(checked(btrfs_util_deleted_subvolumes(mount.c_str(), &raw, &count), "list deleted subvolumes of", mount));
  const std::unique_ptr<std::uint64_t, decltype(&std::free)> owner(raw, &std::free);
  return std::vector<std::uint64_t>(raw, raw + count);
}

Status wait_until_cleaned(const std::filesystem::path& mount) {
  for (;;) {
    SBENCH_TRY(commit_transaction(mount));  // also wakes the cleaner
    SBENCH_TRY_SET(const auto waiting, deleted_subvolumes(mount));
    if (waiting.empty()) {
      return commit_transaction(mount);  // what the cleaner freed last is pinned until then
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

Result<std::uint64_t> own_bytes(const std::filesystem::path& subvolume, bool has_source) {
  struct btrfs_util_subvolume_info info {};
  SBENCH_TRY(checked(btrfs_util_subvolume_info(subvolume.c_str(), 0, &info), "inspect", subvolume));
  SBENCH_TRY_SET(const Fd fd, open_file(subvolume, O_RDONLY | O_DIRECTORY));
  return sum_data_extents(fd.get(), info.id, has_source ? info.otransid : 0);
}

Status enable_quota(const std::filesystem::path& mount) {
  SBENCH_TRY_SET(const Fd fd, open_file(mount, O_RDONLY | O_DIRECTORY));
  btrfs_ioctl_quota_ctl_args args{};
  args.cmd = BTRFS_QUOTA_CTL_ENABLE;
  if (::ioctl(fd.get(), BTRFS_IOC_QUOTA_CTL, &args) != 0) {
    return errno_error("cannot turn on quotas on {}", mount.string());
  }
  return wait_for_rescan(mount);
}

Status wait_for_rescan(const std::filesystem::path& mount) {
  SBENCH_TRY_SET(const Fd fd, open_file(mount, O_RDONLY | O_DIRECTORY));
  if (::ioctl(fd.get(), BTRFS_IOC_QUOTA_RESCAN_WAIT) != 0) {
    return errno_error("cannot wait for the quota rescan of {}", mount.string());
  }
  return {};
}

Result<std::uint64_t> quota_exclusive_bytes(const std::filesystem::path& subvolume) {
  SBENCH_TRY_SET(const std::uint64_t id, subvolume_id(subvolume));
  SBENCH_TRY_SET(const Fd fd, open_file(subvolume, O_RDONLY | O_DIRECTORY));
  return read_quota_exclusive(fd.get(), id);
}

bool has_quota_group(const std::filesystem::path& mount, std::uint64_t id) {
  const auto fd = open_file(mount, O_RDONLY | O_DIRECTORY);
  return fd.ok() && read_quota_exclusive(fd->get(), id).ok();
}

Status remove_quota_groups(const std::filesystem::path& mount, const std::vector<std::uint64_t>& ids) {
  SBENCH_TRY_SET(const Fd fd, open_file(mount, O_RDONLY | O_DIRECTORY));
  for (const std::uint64_t id : ids) {
    btrfs_ioctl_qgroup_create_args args{};
    args.create = 0;
    args.qgroupid = id;
    if (::ioctl(fd.get(), BTRFS_IOC_QGROUP_CREATE, &args) != 0 && errno != ENOENT) {
      return errno_error("cannot remove the quota group 0/{} of {}", id, mount.string());
    }
  }
  return {};
}

}  // namespace sbench::btrfs
