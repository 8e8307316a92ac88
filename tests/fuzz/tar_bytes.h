// tar_bytes.h: tars byte by byte, as no tar program would write them, and their checksums made right again.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace sbench::fuzz {

struct RawHeader {
  std::string name;
  char type = '0';
  std::string link;
  unsigned mode = 0644;
  std::uint64_t size_bytes = 0;
  unsigned major = 0;
  unsigned minor = 0;
};

/// A ustar header block; names beyond its fields are cut.
[[nodiscard]] std::string header_block(const RawHeader& header);
/// Header and padded content.
[[nodiscard]] std::string entry_blocks(RawHeader header, std::string_view content = {});
/// A pax extended header with one record.
[[nodiscard]] std::string pax_blocks(std::string_view key, std::string_view value);
inline std::string tar_end() { return std::string(1024, '\0'); }

/// Gives every block that looks like a header its right checksum, so that what was changed in it is read.
void repair_headers(std::string& tar);

}  // namespace sbench::fuzz
