// variant.h: a driver with options chosen, as one column of a comparison.
#pragma once

#include <string>
#include <vector>

#include "drivers/driver.h"

namespace sbench {

struct Variant {
  const DriverSpec* spec = nullptr;
  Options options;    ///< complete: every option of the driver
  std::string label;  ///< as typed: "overlay2:backing=xfs"
  std::string slug;   ///< in case names, [a-z0-9._-]: "overlay2.backing-xfs"
};

/// Parses "NAME[:opt=val[,opt=val…]]". `storage_opts` ("driver.opt=val") are
/// applied first, so what stands in the variant wins. `preferred` are values that options have which were given
/// in neither, where the driver has such options. Throws UsageError.
[[nodiscard]] Variant parse_variant(const std::string& text, const std::vector<std::string>& storage_opts = {},
                                    const Options& preferred = {});

/// Throws UsageError when a storage option names no known driver.
void check_storage_opts(const std::vector<std::string>& storage_opts);

}  // namespace sbench
