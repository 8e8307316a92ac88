#include "tests/fuzz/layer_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {

namespace fs = std::filesystem;

namespace {

/// All that any change of the two files, their folder or what is above would show.
std::string state_outside() {
  std::string text;
  const fs::path folder = outside_folder();
  for (const fs::path& path : {folder.parent_path(), folder, folder / "canary", folder / "folder"}) {
    struct stat status {};
    require(::lstat(path.c_str(), &status) == 0, path.string() + " is gone");
    text += std::to_string(status.st_ino) + ' ' + std::to_string(status.st_mode) + ' ' + std::to_string(status.st_nlink) + ' ' +
            std::to_string(status.st_uid) + ' ' + std::to_string(status.st_size) + ' ';
    if (path != folder.parent_path()) {  // where roots come and go
      text += std::to_string(status.st_ctim.tv_sec) + '.' + std::to_string(status.st_ctim.tv_nsec) + '\n';
    }
  }
  return text;
}

struct World {
  World() {
    fs::create_directories(outside / "folder");
    put_file(outside / "canary", "alive");
    fs::create_directories(roots);
  }
  const fs::path outside = scratch_folder() / "outside";
  const fs::path roots = scratch_folder() / "roots";
};

const World& world() {
  static const World made;
  return made;
}

void remove_below(int parent, const char* name) {
  if (::unlinkat(parent, name, 0) == 0 || (errno != EISDIR && errno != EPERM)) {
    return;
  }
  const int fd = ::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  DIR* const stream = fd >= 0 ? ::fdopendir(fd) : nullptr;
  while (const dirent* entry = stream != nullptr ? ::readdir(stream) : nullptr) {
    const std::string_view each = entry->d_name;
    if (each != "." && each != "..") {
      remove_below(fd, entry->d_name);
    }
  }
  if (stream != nullptr) {
    ::closedir(stream);
  }
  ::unlinkat(parent, name, AT_REMOVEDIR);
}

}  // namespace

const std::string& outside_folder() {
  static const std::string path = world().outside.string();
  return path;
}

void unpack_and_look_outside(const std::string& tar, WhiteoutStyle style) {
  static const std::string before = state_outside();
  const fs::path root = world().roots / "root";
  require(::mkdir(root.c_str(), 0755) == 0, "the root of the last run is still there");
  const int fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  require(fd >= 0 && ::mkdirat(fd, "d", 0755) == 0, "no root");
  require(::symlinkat(outside_folder().c_str(), fd, "out") == 0 && ::symlinkat("../../outside", fd, "up") == 0, "no links");
  ::close(fd);
  MemorySource source(tar);
  const auto done = apply_layer(source, root, style);
  require(done.ok() || !done.error().what.empty(), "an error without words");
  require(state_outside() == before, "something outside the layer's root was touched");
  remove_below(AT_FDCWD, root.c_str());
}

}  // namespace sbench::fuzz
