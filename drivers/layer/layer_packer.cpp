#include "drivers/layer/layer_packer.h"

#include <fcntl.h>

#include "drivers/base/file.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/whiteout.h"

namespace sbench {

Result<LayerPacker> LayerPacker::open(const std::filesystem::path& root, ByteSink& tar) {
  SBENCH_TRY_SET(Fd fd, open_file(root, O_RDONLY | O_DIRECTORY));
  return LayerPacker(std::move(fd), tar);
}

Status LayerPacker::add_one(const std::string& path) {
  const auto slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  if (whiteout_name(name) != WhiteoutName::none) {
    return plain_error(EINVAL, "cannot put {} into a layer tar: there, its name would delete something", path);
  }
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
  if (!parent_.valid() || parent != parent_path_) {
    SBENCH_TRY_SET(parent_, open_directory(root_.get(), parent));
    parent_path_ = parent;
  }
  return writer_->add_file_at(parent_.get(), name, path, hard_links_);
}

Status LayerPacker::add_parents(const std::string& path) {
  if (path != "." && directories_.insert(".").second) {
    SBENCH_TRY(add_one("."));
  }
  for (auto slash = path.find('/'); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    const std::string parent = path.substr(0, slash);
    if (directories_.insert(parent).second) {
      SBENCH_TRY(add_one(parent));
    }
  }
  return {};
}

Status LayerPacker::add(const std::string& path) {
  SBENCH_TRY(add_parents(path));
  if (directories_.contains(path)) {
    return {};
  }
  SBENCH_TRY(add_one(path));
  directories_.insert(path);
  return {};
}

Status LayerPacker::add_whiteout(const std::string& path, bool opaque) {
  SBENCH_TRY(add_parents(path));
  return writer_->add_whiteout(path, opaque);
}

}  // namespace sbench
