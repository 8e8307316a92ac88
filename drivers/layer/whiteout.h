// whiteout.h: how layer tars and union file systems say "deleted" and "opaque".
//
// On the wire (aufs notation, OCI image specification, "layer"): an empty file
// `.wh.NAME` deletes NAME, `.wh..wh..opq` in a directory hides all lower
// entries of it, every other `.wh..wh.*` is aufs' own. In an overlay upper
// directory: a 0:0 character device, and the attribute "opaque" = "y".
#pragma once

#include <sys/stat.h>

#include <string>
#include <string_view>

namespace sbench {

inline constexpr const char* kWhiteoutPrefix = ".wh.";
inline constexpr const char* kAufsPrefix = ".wh..wh.";
inline constexpr const char* kOpaqueName = ".wh..wh..opq";
/// The file that all of an aufs branch's whiteouts are hard links to.
inline constexpr const char* kAufsBaseName = ".wh..wh.aufs";

/// That attribute's name: trusted.overlay.opaque, or user.overlay.opaque in a user namespace, which has no trusted.*.
[[nodiscard]] const char* overlay_opaque_xattr();

/// A character device 0:0.
[[nodiscard]] inline bool is_overlay_whiteout(const struct stat& status) {
  return S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

/// What a name means in the aufs notation.
enum class WhiteoutName { none, whiteout, opaque, internal };

[[nodiscard]] inline WhiteoutName whiteout_name(std::string_view name) {
  if (!name.starts_with(kWhiteoutPrefix)) {
    return WhiteoutName::none;
  }
  if (name == kOpaqueName) {
    return WhiteoutName::opaque;
  }
  return name.starts_with(kAufsPrefix) ? WhiteoutName::internal : WhiteoutName::whiteout;
}

}  // namespace sbench
