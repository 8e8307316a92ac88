// layer_numbers.h: which numbered thing (thin device, dataset) holds which layer, kept on disk.
//
// One symbolic link a layer, ID → number, below a directory; links, as LayerTable's
// rows are: giving a layer another name is one rename, and costs the store's own
// facility nothing. Numbers lie in a range and are given out upwards, round and round.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>

#include "drivers/base/result.h"
#include "drivers/driver.h"

namespace sbench {

class LayerNumbers {
 public:
  /// Reads the links below `directory`, making it when missing. EUCLEAN when one names no number of [first, end).
  [[nodiscard]] static Result<LayerNumbers> open(std::filesystem::path directory, std::uint32_t first, std::uint32_t end);

  /// Nothing for a layer without one.
  [[nodiscard]] std::optional<std::uint32_t> find(const LayerId& id) const;
  /// The layer's number; a bug when it has none.
  [[nodiscard]] std::uint32_t at(const LayerId& id) const;
  /// A number that no layer has.
  [[nodiscard]] std::uint32_t free_number() const;
  [[nodiscard]] Status set(const LayerId& id, std::uint32_t number);
  /// `key`'s number becomes `name`'s, which has none.
  [[nodiscard]] Status rename(const LayerId& key, const LayerId& name);
  /// Nothing there is fine.
  [[nodiscard]] Status erase(const LayerId& id);

 private:
  LayerNumbers(std::filesystem::path directory, std::uint32_t first, std::uint32_t end)
      : directory_(std::move(directory)), first_(first), end_(end) {}

  std::filesystem::path directory_;
  std::uint32_t first_;
  std::uint32_t end_;
  std::map<LayerId, std::uint32_t> numbers_;
};

}  // namespace sbench
