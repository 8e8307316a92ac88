#include "workloads/content/build_cache.h"

#include "drivers/base/hash.h"

namespace sbench {

std::string BuildCache::key(std::string_view parent_key, std::string_view instruction,
                            std::string_view content_checksum) {
  return sha256_hex(fmt::format("{}:{}\n{}:{}\n{}:{}\n", parent_key.size(), parent_key, instruction.size(), instruction,
                                content_checksum.size(), content_checksum));
}

std::optional<LayerId> BuildCache::find(const std::string& key) {
  const auto found = layers_.find(key);
  if (found == layers_.end()) {
    ++misses_;
    return std::nullopt;
  }
  ++hits_;
  return found->second;
}

}  // namespace sbench
