#include "tests/fuzz/scratch.h"

#include <fcntl.h>

#include "drivers/base/file.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {

namespace fs = std::filesystem;

const fs::path& scratch_folder() {
  struct Folder {
    Folder() {
      const auto made = make_unique_directory(fs::path(fs::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") / "sbench-fuzz-");
      require(made.ok(), "no scratch folder");
      path = *made;
    }
    ~Folder() {
      std::error_code ignored;
      fs::remove_all(path, ignored);
    }
    fs::path path;
  };
  static const Folder folder;
  return folder.path;
}

void put_file(const fs::path& path, const std::string& content) {
  const auto fd = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
  require(fd.ok() && write_all(fd->get(), content, path.string()).ok(), "cannot write " + path.string());
}

}  // namespace sbench::fuzz
