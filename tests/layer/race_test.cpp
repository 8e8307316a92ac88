// race_test.cpp: somebody exchanges directories of the layer for links to elsewhere while a tar is unpacked.
//
// Who may do that could reach the same places by other ways; but a layer's root may be shared with a container that runs.
// Nothing here depends on who wins: the tar may be unpacked or refused, what stands outside stays as it was.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/layer/layer_test.h"

namespace sbench::testing {
namespace {

constexpr unsigned kExchange = 2;  // RENAME_EXCHANGE

/// All that a write, link, chmod, chown, removal or attribute there would show.
std::string state_of(const Folder& outside) {
  std::string text;
  for (const Folder& path : {outside, outside / "file", outside / "empty", outside / "full", outside / "full/file"}) {
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0) {
      return path.string() + " is gone";
    }
    text += fmt::format("{} {:o} {} {} {}.{}\n", path.filename().string(), status.st_mode, status.st_nlink, status.st_uid,
                        status.st_ctim.tv_sec, status.st_ctim.tv_nsec);
  }
  return text;
}

std::string entries_below(const std::string& folder) {
  RawTar tar;
  for (int i = 0; i < 12; ++i) {
    const std::string at = folder + "/";
    tar.directory(at + "sub", 0755).file(at + "file", "evil").file(at + "sub/file", "evil").link(at + "link", "file");
    tar.hard_link(at + "hard", at + "file").pax({{"SCHILY.xattr.trusted.evil", "1"}}).fifo(at + "pipe");
    tar.device(at + "null", '3', 1, 3).directory(at + "empty/deep/deeper", 0700).file(at + "full/file", "evil");
    tar.whiteout(at + ".wh.full").whiteout(at + ".wh.empty").whiteout(at + ".wh..wh..opq").whiteout(at + ".wh.sub");
  }
  return tar.open_end();
}

TEST(Race, directories_exchanged_for_links_take_nothing_out) {
  if (!is_root()) {
    GTEST_SKIP() << "devices and trusted attributes need root";
  }
  const TemporaryFolder folder;
  const Folder outside = make_folder(folder, "outside");
  make_folder(folder, "outside/empty");
  make_folder(folder, "outside/full");
  write_file(outside / "file", "alive");
  write_file(outside / "full/file", "alive");
  const std::string before = state_of(outside);
  const std::string tar = entries_below("a") + entries_below("a/b") + RawTar().data();
  int round = 0;
  for (const WhiteoutStyle style : {WhiteoutStyle::erase, WhiteoutStyle::overlay, WhiteoutStyle::aufs}) {
    const Folder root = make_folder(folder, "root" + std::to_string(round++));
    for (const char* name : {"a", "a/b", "a/sub", "a/full", "other"}) {
      std::filesystem::create_directories(root / name);
    }
    make_link(outside, root / "evil");
    make_link(outside, root / "evil2");
    make_link(outside / "file", root / "evil3");
    std::atomic<bool> done = false;
    std::atomic<unsigned> exchanged = 0;
    std::thread enemy([&] {
      const auto exchange = [&](const char* one, const char* other) {
        exchanged += ::renameat2(AT_FDCWD, (root / one).c_str(), AT_FDCWD, (root / other).c_str(), kExchange) == 0 ? 1 : 0;
      };
      while (!done) {
        exchange("a", "evil");
        exchange("a", "evil");
        exchange("a/b", "evil2");
        exchange("a/full", "evil2");
        exchange("a/sub", "evil2");
        exchange("a/pipe", "evil3");
        exchange("a/null", "evil3");
      }
    });
    unsigned unpacked = 0;
    for (int i = 0; i < 40 || (exchanged < 100 && i < 100'000); ++i) {
      unpacked += unpack(tar, root, style).ok() ? 1 : 0;
    }
    done = true;
    enemy.join();
    RecordProperty("unpacked", static_cast<int>(unpacked));
    EXPECT_GE(exchanged, 100u);
    ASSERT_EQ(state_of(outside), before);
  }
}

}  // namespace
}  // namespace sbench::testing
