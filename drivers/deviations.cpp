#include "drivers/deviations.h"

#include <sys/stat.h>

namespace sbench {

// Each stands in its driver's folder, as in registry.cpp.
std::vector<Deviation> fuse_overlayfs_deviations();

namespace {

constexpr std::uint32_t kSetIds = S_ISUID | S_ISGID;

bool excused(Deviation deviation, TreeEntry& expected, const TreeEntry& actual, bool is_below) {
  const bool folder = is_below && S_ISDIR(expected.mode) && S_ISDIR(actual.mode);
  switch (deviation) {
    case Deviation::copied_up_folder_times:
      return folder && actual.mtime_ns > expected.mtime_ns && (expected.mtime_ns = actual.mtime_ns, true);
    case Deviation::copied_up_folder_set_ids:
      return folder && actual.mode != expected.mode && (expected.mode & ~kSetIds) == actual.mode &&
             (expected.mode = actual.mode, true);
    case Deviation::link_counts:  // a tree takes a file for linked when its count says so
      return !expected.hard_link_of.empty() && actual.hard_link_of.empty() && (expected.hard_link_of.clear(), true);
  }
  return false;
}

}  // namespace

std::string to_string(Deviation deviation) {
  switch (deviation) {
    case Deviation::copied_up_folder_times:
      return "a lower directory shows the time at which something in it was copied up, not its own";
    case Deviation::copied_up_folder_set_ids:
      return "a lower directory loses its set-id bits when something in it is copied up";
    case Deviation::link_counts:
      return "a file with several names sometimes counts one, and is packed as several files then";
  }
  return "unknown";
}

std::vector<Deviation> known_deviations(const std::string& driver) {
  return driver == "fuse-overlayfs" ? fuse_overlayfs_deviations() : std::vector<Deviation>{};
}

Tree excuse(Tree expected, const Tree& actual, const Tree& lower, const std::vector<Deviation>& known,
            std::set<Deviation>* seen) {
  for (auto& [path, entry] : expected) {
    const auto below = lower.find(path);
    const auto now = actual.find(path);
    if (now == actual.end()) {
      continue;
    }
    const bool is_below = below != lower.end() && S_ISDIR(below->second.mode);
    for (const Deviation deviation : known) {
      if (excused(deviation, entry, now->second, is_below) && seen != nullptr) {
        seen->insert(deviation);
      }
    }
  }
  return expected;
}

}  // namespace sbench
