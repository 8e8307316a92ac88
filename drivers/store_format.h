// store_format.h: what the user-space engines keep on devices, for `sbench check`, `dump` and `restore`.
//
// An engine that owns bytes on disk adds one StoreFormat: how to recognise its
// store, check it, write it down as text and make it again from that text. The
// commands know no engine by name. Like the driver registry: a function in the
// engine's folder and one line in store_formats.cpp.
#pragma once

#include <functional>
#include <istream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "drivers/block/block_io.h"

namespace sbench {

/// What a check found. Damage is a finding, never an error.
struct StoreReport {
  std::vector<std::string> findings;                        ///< empty: the store is whole
  std::vector<std::string> notes;                           ///< worth knowing, no damage
  std::vector<std::pair<std::string, std::string>> figures;  ///< what was looked at, in display order
};

struct StoreFormat {
  std::string name;  ///< of the engine: "thin_pool"
  /// Whether the device bears the store's mark; damaged ones may still.
  std::function<bool(BlockIo& io)> recognises;
  /// Follows every reference; reads only.
  std::function<StoreReport(BlockIo& io)> check;
  /// The store's structure as lines of text, each ended by '\n', without the data. EUCLEAN when it is damaged.
  std::function<Status(BlockIo& io, const std::function<Status(std::string_view line)>& line)> dump;
  /// Writes the structure that the text describes; data blocks stay as they are.
  /// EINVAL, and nothing written, when the text is no dump or does not fit.
  std::function<Status(BlockIo& io, std::istream& text)> restore;
};

/// Every engine's, in display order.
[[nodiscard]] const std::vector<StoreFormat>& store_formats();

}  // namespace sbench
