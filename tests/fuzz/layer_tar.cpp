// Layer tars as bytes. Input: a tar; of an even length, its headers' checksums are made right first.
#include "drivers/layer/tar_reader.h"
#include "tests/fuzz/layer_root.h"
#include "tests/fuzz/tar_bytes.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

constexpr WhiteoutStyle kStyles[] = {WhiteoutStyle::erase, WhiteoutStyle::overlay, WhiteoutStyle::aufs};

void run(Bytes input) {
  std::string tar = text_of(input);
  if (tar.size() % 2 == 0) {
    repair_headers(tar);
  }
  unpack_and_look_outside(tar, kStyles[tar.size() / 2 % 3]);
}

std::vector<std::string> seeds() {
  const std::string sparse = "1\n0\n512\n";
  return {
      entry_blocks({.name = "d/", .type = '5', .mode = 0755}) + pax_blocks("path", "d/renamed") + pax_blocks("mtime", "1.5") +
          pax_blocks("SCHILY.xattr.user.a", "1") + entry_blocks({.name = "x"}, "content") + tar_end(),
      entry_blocks({.name = "l", .type = '2', .link = outside_folder()}) + entry_blocks({.name = "l/canary"}, "evil") +
          entry_blocks({.name = "h", .type = '1', .link = "l/canary"}) + entry_blocks({.name = "p", .type = '6'}) +
          entry_blocks({.name = "c", .type = '3', .major = 1, .minor = 3}) + entry_blocks({.name = "d/.wh.x"}) +
          entry_blocks({.name = "d/.wh..wh..opq"}),
      entry_blocks({.name = "././@LongLink", .type = 'L'}, std::string("d/") + std::string(200, 'l')) + entry_blocks({.name = "short"}, "12") +
          entry_blocks({.name = "././@LongLink", .type = 'K'}, std::string(300, 'k')) + entry_blocks({.name = "long", .type = '2'}),
      pax_blocks("GNU.sparse.major", "1") + pax_blocks("GNU.sparse.minor", "0") + pax_blocks("GNU.sparse.name", "../x") +
          pax_blocks("GNU.sparse.realsize", "1000000") + entry_blocks({.name = "s"}, sparse + std::string(512 - sparse.size() + 512, 's')),
      entry_blocks({.name = "old", .type = 'S'}, std::string(512, 'x')),
  };
}

const Target target("layer_tar", run, seeds, 120, 16 << 10);

}  // namespace
}  // namespace sbench::fuzz
