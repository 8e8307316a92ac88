// served.h: a Mirror of a fresh folder, served at a mount point by a process of its own.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstring>
#include <fstream>
#include <sstream>

#include "drivers/base/shared_memory.h"
#include "drivers/fuse/server_process.h"
#include "tests/fuse/mirror.h"
#include "tests/support/must.h"
#include "tests/support/support.h"

namespace sbench::test {

namespace fs = std::filesystem;

class Served {
 public:
  explicit Served(fuse::ServerOptions wanted = {}) : options(std::move(wanted)) {
    sbench::testing::enter_private_namespace();
    fs::create_directories(below());
    fs::create_directories(at());
    options.session.name = "mirror";
    start();
  }
  ~Served() {
    server.reset();
    ::umount2(at().c_str(), MNT_DETACH);
  }

  void start() {
    server = must(fuse::ServerProcess::start(at(), options, [root = below(), shared = control] {
      return Result<std::unique_ptr<FileSystem>>(std::make_unique<Mirror>(root, *shared));
    }));
  }
  [[nodiscard]] fs::path below() const { return folder.path() / "below"; }
  [[nodiscard]] fs::path at() const { return folder.path() / "at"; }

  sbench::testing::TemporaryFolder folder;
  std::shared_ptr<MirrorControl> control = make_shared_memory<MirrorControl>();
  fuse::ServerOptions options;
  std::unique_ptr<fuse::ServerProcess> server;
};

inline void write_text(const fs::path& path, const std::string& text) {
  std::ofstream file(path);
  EXPECT_TRUE(file.is_open()) << "cannot open " << path << " for writing: " << std::strerror(errno);
  EXPECT_TRUE(file << text << std::flush) << "cannot write " << path << ": " << std::strerror(errno);
}
inline std::string read_text_of(const fs::path& path) {
  const std::ifstream file(path);
  EXPECT_TRUE(file.is_open()) << "cannot open " << path << ": " << std::strerror(errno);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}
inline Fd must_open(const fs::path& path, int flags, mode_t mode = 0644) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  EXPECT_TRUE(fd.valid()) << path << ": " << std::strerror(errno);
  return fd;
}

#define SBENCH_SKIP_UNLESS_FUSE()                                                      \
  if (!sbench::testing::is_root() || ::access("/dev/fuse", R_OK | W_OK) != 0) {        \
    GTEST_SKIP() << "serving FUSE mounts needs root and /dev/fuse";                    \
  }

}  // namespace sbench::test
