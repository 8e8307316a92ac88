// A cow_fs pool: labels, uberblocks, pointers, dnodes, directories, attributes, dead lists, space maps, intent log. Input:
// changes to an image (cow_image.h), then what is done with the pool. Whatever was changed, check, dump, walking and every
// operation end.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "drivers/cow_fs/check.h"
#include "drivers/cow_fs/dataset_files.h"
#include "drivers/cow_fs/dump.h"
#include "tests/fuzz/cow_image.h"

namespace sbench::fuzz {
namespace {

using namespace cow_fs;

constexpr int kVisitsMax = 60;

/// Looks at everything below a directory, so far as visits are left.
void walk(DatasetFiles& files, NodeId directory, int depth, int& visits) {
  std::vector<std::string> names;
  static_cast<void>(files.read_directory(directory, 0, 0, [&](const DirectoryEntry& entry) {
    names.emplace_back(entry.name);
    return names.size() < 20;
  }));
  for (const auto& name : names) {
    if (--visits < 0) {
      return;
    }
    if (name == "." || name == "..") {
      continue;
    }
    const auto entry = files.lookup(directory, name);
    if (!entry.ok()) {
      continue;
    }
    std::array<std::byte, 512> into{};
    static_cast<void>(files.read(entry->node, 0, into, 0));
    static_cast<void>(files.read(entry->node, 0, into, 70'000 * std::uint64_t{4096} - std::uint64_t{100}));
    static_cast<void>(files.seek(entry->node, 0, 4096, SEEK_DATA));
    static_cast<void>(files.seek(entry->node, 0, 0, SEEK_HOLE));
    static_cast<void>(files.read_link(entry->node));
    static_cast<void>(files.xattr_names(entry->node));
    static_cast<void>(files.xattr(entry->node, "user.large"));
    if (const auto attributes = files.attributes(entry->node, 0); attributes.ok() && S_ISDIR(attributes->st_mode) && depth < 6) {
      walk(files, entry->node, depth + 1, visits);
    }
    files.forget(entry->node, 1);
  }
}

constexpr const char* kNames[] = {"folder", "file", "short", "late", "device", "new", "..", "folder2"};

void change_file(DatasetFiles& files, Reader& input) {
  const Caller caller{0, 0, 0, 0};
  const unsigned what = input.byte();
  const std::string name = kNames[what >> 5];
  const std::string other = kNames[input.byte() & 7];
  const auto found = files.lookup(kRootNode, name);
  const NodeId node = found.ok() ? found->node : kRootNode;
  const std::uint64_t offset = input.number(2) * 3000;
  struct stat wanted {};
  wanted.st_size = static_cast<off_t>(offset);
  wanted.st_mode = 0640;
  const auto forget = [&](const auto& made) {
    if (made.ok()) {
      files.forget(made->node, 1);
    }
  };
  switch (what % 16) {
    case 0: forget(files.make_directory(caller, node, other, 0755)); break;
    case 1: forget(files.make_node(caller, kRootNode, other, S_IFREG | 0644, 0)); break;
    case 2: static_cast<void>(files.unlink(kRootNode, name)); break;
    case 3: static_cast<void>(files.remove_directory(kRootNode, name)); break;
    case 4: static_cast<void>(files.rename(kRootNode, name, kRootNode, other, what >> 7)); break;
    case 5: static_cast<void>(files.rename(kRootNode, name, node, other, 2)); break;
    case 6: static_cast<void>(files.write(node, 0, std::as_bytes(std::span(name)), offset)); break;
    case 7: static_cast<void>(files.set_attributes(node, 0, static_cast<unsigned>(AttributeMask::size), wanted)); break;
    case 8: static_cast<void>(files.set_attributes(node, 0, static_cast<unsigned>(AttributeMask::mode), wanted)); break;
    case 9: static_cast<void>(files.allocate(node, 0, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, 1 << 20)); break;
    case 10: static_cast<void>(files.set_xattr(node, "user.b", std::string(offset % 3000, 'y'), 0)); break;
    case 11: static_cast<void>(files.remove_xattr(node, "user.small")); break;
    case 12: forget(files.make_link(node, kRootNode, other)); break;
    case 13: static_cast<void>(files.unlink(node, "link" + std::to_string(offset % 80) + std::string(200, 'n'))); break;
    case 14: static_cast<void>(files.sync_file(node, 0, false)); break;
    default: static_cast<void>(files.sync()); break;
  }
  if (found.ok()) {
    files.forget(found->node, 1);
  }
}

void change_pool(Pool& pool, unsigned what, const std::string& name, const std::string& other) {
  switch (what % 8) {
    case 0: static_cast<void>(pool.snapshot(name, "s" + std::to_string(what))); break;
    case 1: static_cast<void>(pool.clone(name, "c" + std::to_string(what))); break;
    case 2: static_cast<void>(pool.destroy(name)); break;
    case 3: static_cast<void>(pool.destroy(name, true)); break;
    case 4: static_cast<void>(pool.rename(name, other)); break;
    case 5: static_cast<void>(pool.set_quota(name, what << 12)); break;
    case 6: static_cast<void>(pool.create(other, {})); break;
    default: static_cast<void>(pool.sync()); break;
  }
}

void run(Bytes bytes) {
  Reader input(bytes);
  PatchedDevice device(cow_image().bytes);
  damage_cow(device, input);
  const CheckReport report = check_pool(device);
  require(report.findings.size() <= 200, "too many findings");
  static_cast<void>(dump_pool(device, [](std::string_view) -> Status { return {}; }));
  OpenOptions options;
  options.commit_interval_ms = 0;
  options.cache_bytes = 1 << 20;
  options.dirty_bytes_max = 1 << 20;
  const auto opened = Pool::open(device, options);
  if (!opened.ok()) {
    return;
  }
  Pool& pool = **opened;
  static_cast<void>(pool.statistics());
  const auto list = pool.list();
  const std::string name = list.empty() ? "a" : list[input.byte() % list.size()].name;
  if (auto files = DatasetFiles::open(pool, name); files.ok()) {
    int visits = kVisitsMax;
    walk(**files, kRootNode, 0, visits);
    static_cast<void>((*files)->statistics());
    for (int operations = input.byte() % 8; operations > 0 && !input.empty(); --operations) {
      change_file(**files, input);
    }
  }
  for (int operations = 0; operations < 4 && !input.empty(); ++operations) {
    const unsigned what = input.byte();
    const auto left = pool.list();
    change_pool(pool, what, left.empty() ? "a" : left[(what >> 3) % left.size()].name, "new");
  }
  static_cast<void>(pool.sync());
}

std::vector<std::string> seeds() {
  std::vector<std::string> made = {std::string(1, '\0')};
  const auto& nodes = cow_image().nodes;
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    std::string input = {0x39, static_cast<char>(node), 16, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, static_cast<char>(node), 7};
    for (int i = 0; i < 8; ++i) {
      input += {static_cast<char>(node * 8 + static_cast<unsigned>(i)), static_cast<char>(i), static_cast<char>(i), 0};
    }
    made.push_back(input);
    // A pointer to the root's first block, where another was.
    made.push_back({0x05, static_cast<char>(node), 0, 0, static_cast<char>(nodes.size() - 1), 0, 0, 0, 1, 0, 0});
  }
  for (int what = 0; what < 64; ++what) {
    made.push_back({0, 1, static_cast<char>(what), 4, static_cast<char>(what * 16), 1, 2, 3, static_cast<char>(what * 17), 5, 6, 7,
                    static_cast<char>(what * 5), 1, 1, 1, 8, 1, 1, 1, static_cast<char>(what), 2, 10, 19, 7});
  }
  return made;
}

const Target target("cow_metadata", run, seeds, 50, 512);

}  // namespace
}  // namespace sbench::fuzz
