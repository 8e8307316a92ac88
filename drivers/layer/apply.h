// apply.h: unpacking an OCI layer tar below a directory, contained in it.
//
// Whatever the tar says (absolute names, "..", symbolic links out of the tree,
// hard links to outside, device nodes over existing links), nothing outside
// `root` is read or written: every path is resolved with openat2(RESOLVE_IN_ROOT)
// semantics and created relative to a descriptor of its own parent directory.
#pragma once

#include <cstdint>
#include <filesystem>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

/// What a `.wh.` entry of the tar becomes in the tree below `root`.
enum class WhiteoutStyle {
  erase,    ///< `root` is a merged tree: the named entry is deleted
  overlay,  ///< `root` is an overlay upper directory: 0:0 character device, opaque xattr
  aufs,     ///< `root` is an aufs branch: `.wh.` files are kept (hard links to one base file)
};

/// Unpacks `tar` (uncompressed ustar/pax/GNU) below `root`. Keeps mode, owner,
/// nanosecond mtimes, xattrs (security.capability included), hard links within
/// the layer, device nodes, fifos, holes. Returns bytes of file content written.
/// Errors: EINVAL for a malformed or truncated tar or a name that cannot be
/// contained (".." above root, empty, NUL), naming the entry; errno of the file
/// system otherwise (ENOSPC, …).
[[nodiscard]] Result<std::uint64_t> apply_layer(ByteSource& tar, const std::filesystem::path& root,
                                                WhiteoutStyle style);

}  // namespace sbench
