// build_cache.h: which build steps have been done before, as image builders key them.
//
// A step's key is SHA-256 over its parent's key, its instruction and the checksum
// of the files it takes in. A change to one step therefore changes the keys of all
// steps after it.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "drivers/driver.h"

namespace sbench {

class BuildCache {
 public:
  /// 64 hexadecimal digits.
  [[nodiscard]] static std::string key(std::string_view parent_key, std::string_view instruction,
                                       std::string_view content_checksum);

  /// The layer made for `key` before; counts a hit or a miss.
  [[nodiscard]] std::optional<LayerId> find(const std::string& key);
  void insert(const std::string& key, const LayerId& layer) { layers_[key] = layer; }

  [[nodiscard]] std::uint64_t hits() const { return hits_; }
  [[nodiscard]] std::uint64_t misses() const { return misses_; }
  void reset_counts() { hits_ = misses_ = 0; }

 private:
  std::map<std::string, LayerId> layers_;
  std::uint64_t hits_ = 0;
  std::uint64_t misses_ = 0;
};

}  // namespace sbench
