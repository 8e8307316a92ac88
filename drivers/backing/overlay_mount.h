// overlay_mount.h: one overlayfs mount, however many lowers its options name.
//
// mount(2) takes one page of options. Names are given relative to a base
// directory: absolute ones are used where they fit, relative ones otherwise,
// from a thread that has its own working directory for the purpose.
#pragma once

#include <filesystem>
#include <string>

#include "drivers/base/result.h"
#include "drivers/driver.h"

namespace sbench {

/// The features of an overlay in a user namespace: with userxattr there is nothing else, and only this way of saying so.
inline constexpr const char* kUserxattrFeatures = "index=off,metacopy=off,redirect_dir=nofollow";

struct OverlayMount {
  std::filesystem::path base;  ///< what the names below are relative to
  std::string lowers;          ///< "l/AAA:l/BBB", nearest first, no other ':' or ','
  std::string upper;           ///< empty: read-only
  std::string work;            ///< empty when upper is
  std::string target;
  std::string features;  ///< "index=off,metacopy=off"
};

/// Mounts it (noatime, as the backing is). E2BIG when even relative names do not fit in a page.
/// In a user namespace with userxattr: overlayfs keeps its attributes in user.overlay.* then, and
/// follows no redirects; `features` are kUserxattrFeatures.
[[nodiscard]] Status mount_overlay(const OverlayMount& overlay);

/// Whether the kernel has overlayfs, for this process, in words for `sbench list`.
[[nodiscard]] Availability probe_overlay();

}  // namespace sbench
