// busybox.h: a tiny root file system with a shell, made of the machine's static busybox.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>

#include "drivers/base/file.h"
#include "drivers/base/process.h"

namespace sbench::testing {

/// Why there is none here; empty when there is one.
inline std::string reason_no_busybox() {
  const std::string program = find_program("busybox");
  if (program.empty()) {
    return "there is no busybox; install busybox-static";
  }
  const auto bytes = read_text(program);
  const bool is_static = bytes.ok() && bytes->find("/ld-linux") == std::string::npos && bytes->find("/ld-musl") == std::string::npos;
  return is_static ? "" : program + " is not static; install busybox-static";
}

/// /bin with a few commands, /etc/passwd and /etc/group with the user app (1234, group web 77), /tmp; no /proc, no /dev.
inline void make_busybox_tree(const std::filesystem::path& root) {
  namespace fs = std::filesystem;
  for (const char* folder : {"bin", "etc", "tmp", "srv"}) {
    fs::create_directories(root / folder);
  }
  fs::permissions(root, fs::perms(0755));
  fs::permissions(root / "tmp", fs::perms(01777));
  fs::copy_file(find_program("busybox"), root / "bin/busybox");
  for (const char* name : {"sh", "id", "ls", "cat", "sleep", "chown", "touch", "ip", "ps", "stat", "rm", "kill", "mount"}) {
    fs::create_symlink("busybox", root / "bin" / name);
  }
  const auto put = [&](const char* name, const std::string& text) {
    const auto fd = open_file(root / name, O_WRONLY | O_CREAT | O_TRUNC);
    ASSERT_TRUE(fd.ok() && write_all(fd->get(), text, name).ok());
  };
  put("etc/passwd", "root:x:0:0:root:/root:/bin/sh\napp:x:1234:77::/srv:/bin/sh\n");
  put("srv/note", "a small file, which every base image needs\n");
  put("etc/group", "root:x:0:\nweb:x:77:\nother:x:88:app\n");
}

}  // namespace sbench::testing
