#include "drivers/cow_fs/check.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <map>

#include "drivers/cow_fs/pool.h"

namespace sbench::cow_fs {

namespace {

constexpr std::size_t kFindingsMax = 100;

class Checker {
 public:
  Checker(BlockIo& io, bool with_data, CheckReport& report) : io_(io), with_data_(with_data), report_(report) {}

  Status run() {
    SBENCH_TRY_SET(header_, read_label(io_));
    check_labels();
    const auto uberblocks = read_uberblocks(io_, header_, &damaged_slots_);
    if (uberblocks.empty()) {
      return plain_error(EUCLEAN, "the pool has no sound uberblock");
    }
    uberblock_ = uberblocks.front();
    sort_damaged_slots();
    report_.group = uberblock_.group;
    core_ = std::make_unique<Core>(io_, header_, 64 * kMiB);
    const Status maps = core_->space.load(io_, uberblock_);
    if (!maps.ok()) {
      find("{}", maps.error().what);
    }
    meta_ = std::make_unique<ObjectSet>(*core_, accounts_, "meta object set", Compression::lz4);
    SBENCH_TRY(meta_->load(uberblock_.meta));
    walk("meta object set", uberblock_.meta, 0, true);
    SBENCH_TRY(read_datasets());
    for (auto& [id, record] : datasets_) {
      check_dataset(id, record);
    }
    if (maps.ok()) {
      compare_space();
    }
    return {};
  }

 private:
  struct NoAccounts final : Accounts {
    void born(const BlockPointer&) override {}
    Status freed(const BlockPointer&) override { return {}; }
  };

  template <typename... Args>
  void find(fmt::format_string<Args...> format, Args&&... args) {
    if (report_.findings.size() < kFindingsMax) {
      report_.findings.push_back(fmt::format(format, std::forward<Args>(args)...));
    }
  }

  void check_labels() {
    for (unsigned index = 0; index < 2; ++index) {
      Bytes sector(kSector);
      const std::uint64_t at = label_offset(header_.device_bytes, index);
      if (!io_.read(at, sector).ok() || !is_sealed(sector) ||
          std::memcmp(sector.data(), &header_, sizeof(header_)) != 0) {
        find("label {} at {} is damaged", index, at);
      }
    }
  }

  /// A power loss tears the newest slot, or the one after it; any other that is not sound is damage.
  void sort_damaged_slots() {
    for (const DamagedSlot& damaged : damaged_slots_) {
      const bool torn = damaged.slot == uberblock_.group % kUberblocks || damaged.slot == (uberblock_.group + 1) % kUberblocks;
      (torn ? report_.notes : report_.findings).push_back(damaged.what);
    }
  }

  /// Every block of a tree younger than `after`; returns their bytes.
  std::uint64_t walk(const std::string& name, const BlockPointer& objects, std::uint64_t after, bool with_data) {
    std::uint64_t bytes = 0;
    const Status walked = visit_blocks(
        core_->blocks, objects, after, with_data,
        [&](const BlockPointer& pointer, std::uint64_t object, std::uint64_t) -> Status {
          if (!core_->blocks.is_plausible(pointer) || pointer.birth > uberblock_.group) {
            find("{}: object {}: {}: its pointer makes no sense", name, object, describe(pointer));
            return {};
          }
          ++report_.blocks;
          bytes += pointer.physical_bytes;
          reached_.emplace_back(pointer.address, pointer.physical_bytes);
          return {};
        },
        [&](const Error& error) -> Status {
          find("{}: {}", name, error.what);
          return {};
        });
    if (!walked.ok()) {
      find("{}: {}", name, walked.error().what);
    }
    report_.bytes += bytes;
    return bytes;
  }

  Status read_datasets() {
    SBENCH_TRY(meta_->for_each([&](const ObjectRef& object) -> Status {
      if (object->dnode().type == ObjectType::dataset) {
        datasets_[object->id()] = load<DatasetRecord>(object->dnode().bonus.data());
      }
      return {};
    }));
    report_.datasets = datasets_.size();
    return {};
  }

  std::string name_of(const DatasetRecord& record) const {
    return std::string(record.name.data(), std::min<std::size_t>(record.name_bytes, kNameMax));
  }

  void check_dataset(std::uint64_t id, const DatasetRecord& record) {
    const std::string name = name_of(record);
    if (record.previous != 0) {
      const auto previous = datasets_.find(record.previous);
      if (previous == datasets_.end() || previous->second.created != record.previous_birth) {
        find("{}: the snapshot before it is not the one it names", name);
      }
    }
    const std::uint64_t own = walk(name, record.objects, record.previous_birth, with_data_);
    if (own != record.own_bytes) {
      find("{}: has {} bytes of its own, its record says {}", name, own, record.own_bytes);
    }
    check_dead(name, record);
    check_names(name, id, record);
  }

  void check_dead(const std::string& name, const DatasetRecord& record) {
    const auto list = meta_->open(record.dead_list);
    if (!list.ok() || (*list)->dnode().type != ObjectType::dead_list) {
      find("{}: its dead list is missing", name);
      return;
    }
    if ((*list)->dnode().size / sizeof(DeadBucket) > core_->blocks.blocks_max()) {
      find("{}: its dead list is longer than the pool", name);
      return;
    }
    std::vector<DeadBucket> buckets((*list)->dnode().size / sizeof(DeadBucket));
    if (const Status read = (*list)->read(0, std::as_writable_bytes(std::span(buckets))); !read.ok()) {
      find("{}: {}", name, read.error().what);
      return;
    }
    for (const DeadBucket& bucket : buckets) {
      const auto blocks = meta_->open(bucket.list);
      std::uint64_t bytes = 0;
      if (bucket.blocks > core_->blocks.blocks_max()) {
        find("{}: its dead list after group {} holds more blocks than the pool", name, bucket.after);
        continue;
      }
      for (std::uint64_t i = 0; blocks.ok() && i < bucket.blocks; ++i) {
        BlockPointer pointer;
        if (!(*blocks)->read(i * sizeof(pointer), std::as_writable_bytes(std::span(&pointer, 1))).ok() ||
            !core_->blocks.is_plausible(pointer) || pointer.birth > record.previous_birth || pointer.birth <= bucket.after) {
          find("{}: block {} of its dead list after group {} does not belong there", name, i, bucket.after);
          continue;
        }
        bytes += pointer.physical_bytes;
      }
      if (!blocks.ok() || bytes != bucket.bytes) {
        find("{}: its dead list after group {} holds {} bytes, not {}", name, bucket.after, bytes, bucket.bytes);
      }
    }
  }

  /// Names lead to objects, objects have as many names as they say, directories the entries.
  void check_names(const std::string& name, std::uint64_t, const DatasetRecord& record) {
    ObjectSet objects(*core_, accounts_, name, record.compression);
    if (const Status loaded = objects.load(record.objects); !loaded.ok()) {
      find("{}", loaded.error().what);
      return;
    }
    std::map<std::uint64_t, std::uint64_t> names;
    std::map<std::uint64_t, ObjectRef> nodes;
    std::map<std::uint64_t, std::uint64_t> subdirectories;
    std::uint64_t count = 0;
    Status listed = objects.for_each([&](const ObjectRef& object) -> Status {
      ++count;
      if (object->dnode().type == ObjectType::node) {
        nodes[object->id()] = object;
      }
      return {};
    });
    if (!listed.ok()) {
      find("{}", listed.error().what);
    }
    report_.objects += count;
    if (listed.ok() && count != objects.objects()) {
      find("{}: has {} objects, says {}", name, count, objects.objects());
    }
    for (const auto& [id, object] : nodes) {
      if (!S_ISDIR(attributes_of(*object).mode)) {
        continue;
      }
      std::uint64_t entries = 0;
      const Status read = list_names(*object, 0, [&, directory = id](const Name& entry) {
        ++entries;
        const auto target = nodes.find(entry.object);
        if (target == nodes.end()) {
          find("{}: directory {}: '{}' names object {}, which is none", name, directory, entry.text, entry.object);
          return true;
        }
        const Attributes attributes = attributes_of(*target->second);
        if (IFTODT(attributes.mode) != entry.type) {
          find("{}: directory {}: '{}' has another type than object {}", name, directory, entry.text, entry.object);
        }
        if (directory != kOrphansObject) {
          ++names[entry.object];
          if (S_ISDIR(attributes.mode)) {
            ++subdirectories[directory];
            if (attributes.parent != directory) {
              find("{}: directory {} says its parent is {}, not {}", name, entry.object, attributes.parent, directory);
            }
          }
        }
        return true;
      });
      if (!read.ok()) {
        find("{}: directory {}: {}", name, id, read.error().what);
      } else if (entries != attributes_of(*object).entries) {
        find("{}: directory {} has {} names, says {}", name, id, entries, attributes_of(*object).entries);
      }
    }
    for (const auto& [id, object] : nodes) {
      const Attributes attributes = attributes_of(*object);
      const bool top = id == kRootObject || id == kOrphansObject;
      std::uint64_t expected = names[id];
      if (S_ISDIR(attributes.mode) && (top || expected > 0)) {
        if (!top && expected != 1) {
          find("{}: directory {} has {} names", name, id, expected);
        }
        expected = 2 + subdirectories[id];
      }
      if (expected != attributes.links && listed.ok()) {
        find("{}: object {} has {} links, says {}", name, id, expected, attributes.links);
      }
    }
  }

  void compare_space() {
    std::sort(reached_.begin(), reached_.end());
    std::vector<std::pair<std::uint64_t, std::uint64_t>> merged;
    for (const auto& [address, bytes] : reached_) {
      if (!merged.empty() && address < merged.back().first + merged.back().second) {
        find("the block at {} is reached twice", address);
        continue;
      }
      if (!merged.empty() && merged.back().first + merged.back().second == address) {
        merged.back().second += bytes;
      } else {
        merged.emplace_back(address, bytes);
      }
    }
    if (!report_.findings.empty()) {
      return;  // what could not be read was not reached either
    }
    const auto used = core_->space.used_ranges();
    if (merged == used) {
      return;
    }
    std::size_t a = 0;
    std::size_t b = 0;
    while ((a < merged.size() || b < used.size()) && report_.findings.size() < 10) {
      if (a < merged.size() && b < used.size() && merged[a] == used[b]) {
        ++a;
        ++b;
      } else if (b == used.size() || (a < merged.size() && merged[a] < used[b])) {
        find("{} bytes at {} are in use, the space map differs", merged[a].second, merged[a].first);
        ++a;
      } else {
        find("{} bytes at {} are marked as used, what is reached differs", used[b].second, used[b].first);
        ++b;
      }
    }
  }

  BlockIo& io_;
  bool with_data_;
  CheckReport& report_;
  LabelHeader header_;
  Uberblock uberblock_;
  std::vector<DamagedSlot> damaged_slots_;
  NoAccounts accounts_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<ObjectSet> meta_;
  std::map<std::uint64_t, DatasetRecord> datasets_;
  std::vector<std::pair<std::uint64_t, std::uint64_t>> reached_;
};

}  // namespace

CheckReport check_pool(BlockIo& io, bool with_data) {
  CheckReport report;
  Checker checker(io, with_data, report);
  if (const Status done = checker.run(); !done.ok()) {
    report.findings.push_back(done.error().what);
  }
  return report;
}

}  // namespace sbench::cow_fs
