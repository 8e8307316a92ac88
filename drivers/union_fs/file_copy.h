// file_copy.h: the data of one file into another: cloned where the file system can, else copied in the kernel.
#pragma once

#include <sys/stat.h>
#include <sys/types.h>

#include "drivers/base/result.h"

namespace sbench::union_fs {

/// Makes `target` (empty) the first `size` bytes of `source`. Holes stay holes. Positions of the descriptors are not kept.
/// `write_out`: the device begins to write while the copy goes on, for one who syncs soon.
[[nodiscard]] Status copy_data(int source, int target, off_t source_size, off_t size, bool write_out);

/// After it, no power cut leaves a name that `copy` gets next without the data. Where the file system's journal keeps
/// the order (ext4, XFS: sizes and extents are logged before a page's writeback ends), waiting for the data is
/// enough; elsewhere (btrfs logs them later) it is fsync(2). The copy itself may still be gone: then the lower file shows.
[[nodiscard]] Status settle_before_name(int copy);

/// Owner, mode, attributes (but for the union's own, which begin with `own_prefix`) and times of `source`, in that
/// order. Both are (descriptor, name) with "" for the descriptor's file itself.
struct FileAt {
  int fd;
  const char* name;
};
[[nodiscard]] Status copy_metadata(FileAt source, FileAt target, const struct stat& status, const char* own_prefix);
/// The times of `status`.
[[nodiscard]] int set_times(FileAt target, const struct stat& status);

}  // namespace sbench::union_fs
