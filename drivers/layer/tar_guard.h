// tar_guard.h: refuses the names in a tar that C strings would cut short.
//
// libarchive hands names out as C strings, so a NUL inside a pax or GNU long
// name would silently turn "passwd\0.txt" into "passwd". The guard follows the
// stream from header to header, looks into the extended headers and nothing
// else, and leaves judging the rest of the format to libarchive.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "drivers/base/result.h"

namespace sbench {

class TarGuard {
 public:
  /// Takes the next bytes of the stream. EINVAL naming the name that holds a NUL.
  [[nodiscard]] Status check(std::span<const std::byte> data);

 private:
  [[nodiscard]] Status end_block();
  [[nodiscard]] Status end_extension();
  [[nodiscard]] Status check_records(std::string_view records);

  std::string block_;                  ///< the header, or the extended header, that is being collected
  std::size_t wanted_ = 512;           ///< bytes of `block_` to collect
  char extension_ = 0;                 ///< typeflag of the extended header in `block_`; 0: a plain header
  std::size_t extension_bytes_ = 0;    ///< of it, without padding
  std::uint64_t skip_ = 0;             ///< content bytes to pass over
  std::optional<std::uint64_t> size_;  ///< of the next entry, as its pax header says
  bool done_ = false;                  ///< the end, or something only libarchive can judge
};

}  // namespace sbench
