// checker.h: opens what a power loss left of a store, and holds it against what was acknowledged.
//
// The engine's own check, then the driver: it must open; every layer that must be there is
// there once, mounts, and shows what it must; layers that nothing is known of can be removed;
// a new layer can be made, written and synced. At the end the backing file system's own
// program finds it whole (e2fsck -fn, xfs_repair -n, btrfs check), and the engine's check again.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "tests/crash/expectation.h"

namespace sbench::crash {

struct Checked {
  const DriverSpec& spec;
  Options options;
  std::filesystem::path root;  ///< an empty directory for the driver's mounts
  const ContainerImage& image;
  bool zeros_allowed = true;  ///< compare_file()
};

/// What is wrong with the store on the image `file`, which is changed; empty when nothing is.
[[nodiscard]] std::vector<std::string> check_after_power_loss(const Checked& checked, const std::filesystem::path& file,
                                                              const Expectation& expected);

}  // namespace sbench::crash
