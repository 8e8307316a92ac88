#include "drivers/union_fs/pseudo_links.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>

#include "drivers/union_fs/scan.h"

namespace sbench::union_fs {

constexpr std::uint64_t kInodeMask = (std::uint64_t{1} << 54) - 1;

Status PseudoLinks::open(int parent, const char* name) {
  if (::mkdirat(parent, name, 0700) != 0 && errno != EEXIST) {
    return errno_error("cannot make the folder {}", name);
  }
  Fd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot open the folder {}", name);
  }
  folder_ = std::make_shared<const Fd>(std::move(fd));
  const int code = scan_directory(folder_->get(), [&](const ScannedEntry& entry) {
    std::uint64_t inode = 0;
    const auto parsed = std::from_chars(entry.name.data(), entry.name.data() + entry.name.size(), inode);
    if (parsed.ec == std::errc() && entry.name == name_of(inode)) {
      add(inode, entry.inode, 1);  // how many names are left is not known: closing finds them
    }
    return 0;
  });
  return code == 0 ? Status() : Status(make_error(code, "cannot read the folder {}", name));
}

std::string PseudoLinks::name_of(std::uint64_t inode) { return fmt::format("{}.{}", inode, inode & kInodeMask); }

void PseudoLinks::add(std::uint64_t inode, ino_t upper, std::int64_t remaining) {
  const auto guard = hold();
  links_[inode] = {upper, remaining};
  by_upper_[upper] = inode;
  count_.store(links_.size(), std::memory_order_release);
}

std::optional<ino_t> PseudoLinks::upper_of(std::uint64_t inode) {
  const auto guard = hold();
  const auto found = links_.find(inode);
  return found == links_.end() ? std::nullopt : std::optional(found->second.upper);
}

std::optional<std::uint64_t> PseudoLinks::shown_of(ino_t upper) {
  const auto guard = hold();
  const auto found = by_upper_.find(upper);
  return found == by_upper_.end() ? std::nullopt : std::optional(found->second);
}

void PseudoLinks::take_lower_name(std::uint64_t inode) {
  const auto guard = hold();
  if (const auto found = links_.find(inode); found != links_.end() && found->second.remaining > 0) {
    found->second.remaining -= 1;
  }
}

std::uint64_t PseudoLinks::names_of(std::uint64_t inode, std::uint64_t upper_links) {
  const auto guard = hold();
  const auto found = links_.find(inode);
  if (found == links_.end()) {
    return upper_links;
  }
  return (upper_links == 0 ? 0 : upper_links - 1) + static_cast<std::uint64_t>(found->second.remaining);
}

void PseudoLinks::remove(std::uint64_t inode) {
  const auto guard = hold();
  const auto found = links_.find(inode);
  if (found == links_.end()) {
    return;
  }
  ::unlinkat(folder_->get(), name_of(inode).c_str(), 0);
  by_upper_.erase(found->second.upper);
  links_.erase(found);
  count_.store(links_.size(), std::memory_order_release);
}

std::vector<std::uint64_t> PseudoLinks::all() {
  const auto guard = hold();
  std::vector<std::uint64_t> inodes;
  for (const auto& [inode, link] : links_) {
    inodes.push_back(inode);
  }
  std::sort(inodes.begin(), inodes.end());
  return inodes;
}

}  // namespace sbench::union_fs
