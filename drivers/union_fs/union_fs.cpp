// union_fs.cpp: opening and closing a union, and what concerns it as a whole.
#include "drivers/union_fs/union_fs.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/union_fs/engine.h"
#include "drivers/union_fs/xattr_at.h"

namespace sbench {
namespace union_fs {

UnionFs::UnionFs(const UnionOptions& options, Branches branches)
    : options_(options),
      dialect_(options),
      branches_(std::move(branches)),
      fds_(options.cached_fds),
      table_([this](Node& node) {
        if (node.is_directory()) {
          drop_index_locked(node);
          for (const BranchIndex branch : node.directory->branches) {
            fds_.drop(&node, branch);
          }
        }
        if (node.pin() != nullptr) {
          pins_.fetch_sub(1, std::memory_order_relaxed);
        }
      }) {}

UnionFs::~UnionFs() { resolve_pseudo_links(); }

Status UnionFs::start() {
  const bool writable = branches_.has_upper();
  if (writable) {
    SBENCH_TRY(work_.open(options_.dialect, branches_[kUpper].root->get(), options_.work));
    SBENCH_TRY(dialect_.aufs ? pseudo_links_.open(branches_[kUpper].root->get(), ".wh..wh.plnk")
                             : pseudo_links_.open(work_.fd(), "../links"));
  }
  auto root = std::make_unique<Node>();
  root->holds = 1;
  root->type = DT_DIR;
  root->directory = std::make_unique<DirectoryState>();
  DirectoryState& of = *root->directory;
  for (std::size_t i = writable ? 0 : 1; i < branches_.size(); ++i) {
    const auto branch = static_cast<BranchIndex>(i);
    of.branches.push_back(branch);
    std::string value;
    if (!dialect_.aufs && get_xattr(branches_[branch].root->get(), "", dialect_.opaque.c_str(), value) == 0 &&
        value == "x") {
      of.xattr_whiteouts.push_back(branch);
    }
  }
  of.merged = of.branches.size() > 1;
  root->branch = of.branches.front();
  struct stat status {};
  if (::fstat(branches_[of.branches.front()].root->get(), &status) != 0) {
    return errno_error("cannot stat the union's root");
  }
  root->key = branches_.key(of.branches.front(), status.st_ino);
  root->inode = branches_.shown(of.branches.front(), status.st_ino);
  root_ = table_.put(std::move(root));
  return {};
}

Result<struct statvfs> UnionFs::statistics() {
  const BranchIndex branch = branches_.has_upper() ? kUpper : BranchIndex{1};
  struct statvfs statistics {};
  if (::fstatvfs(branches_[branch].root->get(), &statistics) != 0) {
    return answer();
  }
  statistics.f_namemax = std::min<unsigned long>(statistics.f_namemax, dialect_.name_max());
  if (!branches_.has_upper()) {
    statistics.f_bavail = statistics.f_bfree = statistics.f_ffree = statistics.f_favail = 0;
    statistics.f_flag |= ST_RDONLY;
  }
  return statistics;
}

Status UnionFs::sync() {
  if (options_.sync == UnionSync::none || !branches_.has_upper()) {
    return {};
  }
  return ::syncfs(branches_[kUpper].root->get()) == 0 ? Status() : Status(errno_error("cannot sync the upper branch"));
}

}  // namespace union_fs

Result<std::unique_ptr<FileSystem>> open_union(const UnionOptions& options) {
  const bool aufs = options.dialect == UnionDialect::aufs;
  if (options.lower.size() > kUnionLowerMax) {
    return plain_error(EINVAL, "a union has at most {} lower branches, not {}", kUnionLowerMax, options.lower.size());
  }
  if (options.lower.empty() && !options.upper) {
    return plain_error(EINVAL, "a union needs a branch");
  }
  if (aufs && (options.redirect_dir || options.metacopy || options.userxattr)) {
    return plain_error(EINVAL, "redirect_dir, metacopy and userxattr belong to the overlay dialect");
  }
  if (options.userxattr && (options.redirect_dir || options.metacopy)) {
    return plain_error(EINVAL, "userxattr goes with neither redirect_dir nor metacopy: users could forge them");
  }
  SBENCH_TRY_SET(auto branches, union_fs::Branches::open(options.upper, options.lower));
  auto file_system = std::make_unique<union_fs::UnionFs>(options, std::move(branches));
  SBENCH_TRY(file_system->start());
  return std::unique_ptr<FileSystem>(std::move(file_system));
}

}  // namespace sbench
