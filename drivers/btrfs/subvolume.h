// subvolume.h: the btrfs calls the driver needs, with our errors.
//
// Through libbtrfsutil where it has the call, else through ioctls (quota
// groups, tree search; linux/btrfs.h, linux/btrfs_tree.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::btrfs {

[[nodiscard]] Status create_subvolume(const std::filesystem::path& path);
/// A writable snapshot. Subvolumes nested in the source appear as empty directories.
[[nodiscard]] Status snapshot_subvolume(const std::filesystem::path& source, const std::filesystem::path& path);
[[nodiscard]] Status set_read_only(const std::filesystem::path& path, bool read_only);
/// Deletes a subvolume with those nested in it; returns all their ids. Their space is given
/// back later, by the kernel's cleaner: wait_until_cleaned().
[[nodiscard]] Result<std::vector<std::uint64_t>> delete_subvolume(const std::filesystem::path& path);

/// Ids of deleted subvolumes that the cleaner has not finished with.
[[nodiscard]] Result<std::vector<std::uint64_t>> deleted_subvolumes(const std::filesystem::path& mount);
/// Waits until every deleted subvolume's space is free again. Commits at least twice.
[[nodiscard]] Status wait_until_cleaned(const std::filesystem::path& mount);
/// Commits the running transaction: everything is on the device.
[[nodiscard]] Status commit_transaction(const std::filesystem::path& mount);

/// Bytes of the data extents made since the subvolume was: those it does not
/// have from the snapshot's source. Reads only what changed since. Delayed data
/// must have been committed.
[[nodiscard]] Result<std::uint64_t> own_bytes(const std::filesystem::path& subvolume, bool has_source);

/// Turns quota groups on and waits for the first scan.
[[nodiscard]] Status enable_quota(const std::filesystem::path& mount);
/// Waits for a running quota rescan; returns at once when there is none.
[[nodiscard]] Status wait_for_rescan(const std::filesystem::path& mount);
/// The exclusive bytes of the subvolume's quota group, as of the last commit.
[[nodiscard]] Result<std::uint64_t> quota_exclusive_bytes(const std::filesystem::path& subvolume);
/// Whether the quota group 0/id exists.
[[nodiscard]] bool has_quota_group(const std::filesystem::path& mount, std::uint64_t id);
/// Removes the quota groups of deleted subvolumes, where the kernel has not done so.
[[nodiscard]] Status remove_quota_groups(const std::filesystem::path& mount, const std::vector<std::uint64_t>& ids);

}  // namespace sbench::btrfs
