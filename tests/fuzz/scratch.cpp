#include "tests/fuzz/scratch.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>

#include "tests/fuzz/target.h"

namespace sbench::fuzz {

namespace fs = std::filesystem;

const fs::path& scratch_folder() {
  struct Folder {
    Folder() {
      std::string name = (fs::is_directory("/dev/shm") ? "/dev/shm" : "/tmp") + std::string("/sbench-fuzz-XXXXXX");
      require(::mkdtemp(name.data()) != nullptr, "no scratch folder");
      path = name;
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
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  require(fd >= 0, "cannot make " + path.string());
  require(::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size()), "cannot write " + path.string());
  ::close(fd);
}

}  // namespace sbench::fuzz
