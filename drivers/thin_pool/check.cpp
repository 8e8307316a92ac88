#include "drivers/thin_pool/check.h"

#include <limits>

#include "drivers/thin_pool/metadata.h"

namespace sbench::thin_pool {

namespace {

constexpr std::uint64_t kCacheBytes = std::uint64_t{64} << 20;
constexpr std::size_t kFindingsMax = 200;
constexpr std::uint64_t kKeyMax = std::numeric_limits<std::uint64_t>::max();

class Checker {
 public:
  Checker(Metadata& metadata, CheckReport& report)
      : metadata_(metadata),
        report_(report),
        blocks_(metadata.metadata_map().size()),
        chunks_(metadata.data_map().size()) {}

  void run() {
    for (std::uint64_t slot = 0; slot < kSuperblockSlots; ++slot) {
      ++blocks_[slot];
    }
    check_space_map(metadata_.metadata_map(), "metadata");
    check_space_map(metadata_.data_map(), "data");
    walk(metadata_.device_tree(), {metadata_.superblock().device_root, -1, 0, kKeyMax}, "device tree");
    if (damaged_) {
      note("reference counts were not compared: damaged blocks hide references");
      return;
    }
    compare(metadata_.metadata_map(), blocks_, "metadata block", report_.metadata_blocks_used);
    compare(metadata_.data_map(), chunks_, "data chunk", report_.data_chunks_used);
  }

 private:
  struct Place {
    std::uint64_t number = 0;
    int level = -1;  ///< -1: any, a root
    std::uint64_t key_min = 0;
    std::uint64_t key_max = kKeyMax;
  };

  void find(std::string finding) {
    if (report_.findings.size() < kFindingsMax) {
      report_.findings.push_back(std::move(finding));
    }
  }
  void note(std::string text) { report_.notes.push_back(std::move(text)); }
  void damage(const std::string& whose, const std::string& what) {
    damaged_ = true;
    find(whose + ": " + what);
  }

  /// Counts a reference to a metadata block; whether it is the first.
  bool refer(std::uint64_t number, const std::string& whose) {
    if (number >= blocks_.size()) {
      damage(whose, fmt::format("it names metadata block {}, the pool has {}", number, blocks_.size()));
      return false;
    }
    return ++blocks_[number] == 1;
  }

  void check_space_map(SpaceMap& map, const std::string& name) {
    const std::string whose = name + " space map";
    static_cast<void>(map.for_each_own_block([&](std::uint64_t number) -> Status {
      refer(number, whose);
      return {};
    }));
    for (std::uint64_t block = 0; block < map.size(); block += kCountsPerPage) {  // reads every page
      if (const auto count = map.count(block); !count.ok()) {
        damage(whose, count.error().what);
      }
    }
  }

  void walk(BTree& tree, const Place& place, const std::string& whose) {
    if (!refer(place.number, whose)) {
      return;  // seen already: a shared subtree is whole once it is whole
    }
    const auto read = tree.read_node(place.number, place.level);
    if (!read.ok()) {
      damage(whose, read.error().what);
      return;
    }
    const Block& node = **read;
    const std::uint64_t* keys = tree.keys(node);
    for (std::uint32_t i = 0; i < node.header().count; ++i) {
      const std::uint64_t key_max = i + 1u < node.header().count ? keys[i + 1] - 1 : place.key_max;
      const bool ordered = i == 0 || keys[i - 1] < keys[i];
      const bool inside = keys[i] <= place.key_max && (i == 0 || keys[i] >= place.key_min);
      if (!ordered || !inside) {
        damage(whose, fmt::format("metadata block {} ({}) is damaged: key {} of entry {} is out of order", place.number,
                                  to_string(node.header().kind), keys[i], i));
        return;
      }
      if (node.header().level > 0) {
        walk(tree, {tree.child(node, i), node.header().level - 1, i == 0 ? place.key_min : keys[i], key_max}, whose);
      } else if (&tree == &metadata_.device_tree()) {
        if (keys[i] >= kDeviceIds) {
          damage(whose, fmt::format("it names a device {}", keys[i]));
          return;
        }
        check_device(static_cast<DeviceId>(keys[i]), tree.value(node, i));
      } else {
        check_mapping(keys[i], tree.value(node, i), whose);
      }
    }
  }

  void check_mapping(std::uint64_t chunk, const std::byte* value, const std::string& whose) {
    std::uint64_t packed = 0;
    std::memcpy(&packed, value, sizeof(packed));
    const Mapping mapping = Mapping::unpack(packed);
    if (mapping.time > metadata_.superblock().time) {
      find(fmt::format("{}: chunk {} was mapped at time {}, the pool's time is {}", whose, chunk, mapping.time,
                       metadata_.superblock().time));
    }
    if (mapping.is_zero()) {
      return;
    }
    if (mapping.block >= chunks_.size()) {
      damage(whose, fmt::format("chunk {} is at block {}, the pool has {}", chunk, mapping.block, chunks_.size()));
      return;
    }
    ++chunks_[mapping.block];
  }

  void check_device(DeviceId id, const std::byte* value) {
    DeviceRecord record;
    std::memcpy(&record, value, sizeof(record));
    const std::string whose = fmt::format("thin device {}", id);
    ++report_.devices;
    if (!makes_sense(record, metadata_.superblock().time)) {
      find(whose + ": its record makes no sense");
    }
    walk(metadata_.mapping_tree(), {record.root, -1, 0, kKeyMax}, whose);
    if (damaged_) {
      return;
    }
    std::uint64_t mapped = 0;
    std::uint64_t own = 0;
    const std::uint64_t chunk_bytes = metadata_.superblock().chunk_bytes;
    const Status walked = metadata_.mapping_tree().for_each(
        record.root, 0, kKeyMax, [&](std::uint64_t chunk, const std::byte* bytes) -> Result<bool> {
          std::uint64_t packed = 0;
          std::memcpy(&packed, bytes, sizeof(packed));
          const Mapping mapping = Mapping::unpack(packed);
          mapped += mapping.is_zero() ? 0 : 1;
          own += !mapping.is_zero() && mapping.time >= record.created_time ? 1 : 0;
          if (chunk >= chunks_of(record, chunk_bytes)) {
            find(fmt::format("{}: chunk {} lies behind its end", whose, chunk));
          }
          return true;
        });
    if (!walked.ok()) {
      damage(whose, walked.error().what);
      return;
    }
    report_.mapped_chunks += mapped;
    if (mapped != record.mapped_chunks || own != record.own_chunks) {
      find(fmt::format("{}: it has {} chunks, {} of its own; its record says {} and {}", whose, mapped, own,
                       record.mapped_chunks, record.own_chunks));
    }
  }

  void compare(SpaceMap& map, const std::vector<std::uint32_t>& seen, const char* what, std::uint64_t& used) {
    for (std::uint64_t block = 0; block < map.size(); ++block) {
      const auto count = map.count(block);
      if (!count.ok()) {
        return;  // found already
      }
      used += seen[block] > 0 ? 1 : 0;
      if (*count != seen[block]) {
        find(fmt::format("{} {}: {} references, the space map counts {}", what, block, seen[block], *count));
      }
    }
    if (used != map.allocated()) {
      find(fmt::format("{}s in use: {}, the superblock says {}", what, used, map.allocated()));
    }
  }

  Metadata& metadata_;
  CheckReport& report_;
  std::vector<std::uint32_t> blocks_;  ///< references seen
  std::vector<std::uint32_t> chunks_;
  bool damaged_ = false;
};

}  // namespace

CheckReport check_pool(BlockIo& io) {
  CheckReport report;
  const auto opened = Metadata::open(io, kCacheBytes);
  if (!opened.ok()) {
    report.findings.push_back(opened.error().what);
    return report;
  }
  Metadata& metadata = **opened;
  report.transaction = metadata.superblock().transaction;
  report.notes = metadata.findings();
  Checker(metadata, report).run();
  return report;
}

}  // namespace sbench::thin_pool
