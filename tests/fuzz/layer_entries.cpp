// Layer tars made entry by entry of names that mean harm, so that tricks with links, whiteouts and types are tried in every
// order. Input: a byte for the whiteout style, then for each entry: type, name, target, mode, content length.
#include "tests/fuzz/layer_root.h"
#include "tests/fuzz/tar_bytes.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

constexpr WhiteoutStyle kStyles[] = {WhiteoutStyle::erase, WhiteoutStyle::overlay, WhiteoutStyle::aufs};
constexpr const char* kParts[] = {"a", "b", "d", "out", "up", "..", ".", "", ".wh.a", ".wh.d", ".wh.out", ".wh..wh..opq",
                                  ".wh...", ".wh.", ".wh..wh.aufs", "canary"};
constexpr char kTypes[] = {'0', '5', '2', '1', '3', '4', '6', '7', '0', '5', '2', '1', 'x', 'y', 'z', '0'};
constexpr const char* kXattrs[] = {"trusted.overlay.opaque", "trusted.overlay.redirect", "user.overlay.opaque", "user.a",
                                   "security.capability", "system.posix_acl_access", "system.posix_acl_default", "trusted.overlay.metacopy"};

/// Up to four parts, four bits each; the first byte's upper half says how many, and whether it starts at the root.
std::string path_from(Reader& input) {
  const unsigned shape = input.byte();
  const auto parts = input.number(2);
  std::string path = (shape & 4) != 0 ? (shape & 8) != 0 ? outside_folder() + "/" : "/" : "";
  for (unsigned i = 0; i <= (shape & 3); ++i) {
    path += std::string(i > 0 ? "/" : "") + kParts[parts >> (4 * i) & 15];
  }
  return path;
}

void run(Bytes bytes) {
  Reader input(bytes);
  const unsigned style = input.byte() % 3;
  std::string tar;
  for (int entries = 0; entries < 24 && !input.empty(); ++entries) {
    const unsigned what = input.byte();
    RawHeader header;
    header.type = kTypes[what & 15];
    header.name = path_from(input);
    header.mode = 0600 | (what >> 4) << 5;
    if (header.type == 'x') {  // an attribute of the next entry
      const unsigned which = input.byte();
      const std::string_view values[] = {"y", "/../..", "\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff"};
      tar += pax_blocks(std::string("SCHILY.xattr.") + kXattrs[which & 7], values[(which >> 3) % 3]);
      continue;
    }
    if (header.type == 'y' || header.type == 'z') {  // the next entry's name or target
      tar += pax_blocks(header.type == 'y' ? "path" : "linkpath", header.name + (what >= 128 ? std::string(1, '\0') + "x" : ""));
      continue;
    }
    if (header.type == '1' || header.type == '2') {
      header.link = path_from(input);
    }
    header.major = header.type == '3' ? what >> 6 : 7;
    const bool content = header.type == '0' || header.type == '7';
    tar += entry_blocks(header, content && (what & 0x10) != 0 ? "evil" : "");
  }
  unpack_and_look_outside(tar + tar_end(), kStyles[style]);
}

std::vector<std::string> seeds() {
  // Entries: file a; directory d; link a -> out; a/canary; hard link b to out/canary; whiteout of d.
  return {std::string("\0\x00\x00\x00\x00\x01\x00\x02\x00", 9),
          std::string("\0\x02\x00\x00\x00\x0c\x00\x00\x10\x01\xf0\x00", 12),
          std::string("\1\x03\x00\x01\x00\x01\xf3\x00\x10\x00\x09\x00", 12),
          std::string("\2\x01\x00\x02\x00\x10\x01\x02\x00\x00\x00\x09\x00\x02\x00\x02\x00\x0c\x00\x00", 20)};
}

const Target target("layer_entries", run, seeds, 300, 160);

}  // namespace
}  // namespace sbench::fuzz
