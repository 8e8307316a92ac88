#include "tests/fuzz/cow_image.h"

#include <sys/stat.h>

#include <cstring>

#include "drivers/base/units.h"
#include "drivers/block/memory_device.h"
#include "drivers/cow_fs/block_store.h"
#include "drivers/cow_fs/dataset_files.h"
#include "drivers/cow_fs/labels.h"

namespace sbench::fuzz {

using namespace cow_fs;

namespace {

constexpr std::uint64_t kScratchBytes = 256 * kKiB;

template <typename T>
T good(Result<T> result) {
  require(result.ok(), result.ok() ? "" : "the image cannot be made: " + result.error().what);
  return std::move(result).value();
}
void good(const Status& status) { require(status.ok(), status.ok() ? "" : "the image cannot be made: " + status.error().what); }

std::span<const std::byte> raw(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

void fill(Pool& pool) {
  const Caller caller{0, 0, 0, 0};
  DatasetOptions options;
  options.record_bytes = 4096;
  good(pool.create("a", options));
  const auto files = good(DatasetFiles::open(pool, "a"));
  const NodeId folder = good(files->make_directory(caller, kRootNode, "folder", 0755)).node;
  const NodeId file = good(files->make_node(caller, kRootNode, "file", S_IFREG | 0644, 0)).node;
  good(files->write(file, 0, raw("begin"), 0));
  good(files->write(file, 0, raw("far"), 70'000 * std::uint64_t{4096}));
  good(files->set_xattr(file, "user.small", std::string(20, 's'), 0));
  good(files->make_symlink(caller, kRootNode, "short", "file"));
  const NodeId target = good(files->make_symlink(caller, kRootNode, "long", std::string(1500, 'l'))).node;
  good(files->make_node(caller, kRootNode, "device", S_IFCHR | 0600, 5));
  const NodeId other = good(files->make_node(caller, folder, "other", S_IFREG | 0600, 0)).node;
  good(files->set_xattr(other, "user.large", std::string(3000, 'x'), 0));
  good(files->write(other, 0, raw(std::string(9000, 'o')), 0));
  good(pool.sync());
  good(pool.snapshot("a", "a@1"));
  good(pool.clone("a@1", "b"));
  for (int i = 0; i < 80; ++i) {  // more than a leaf holds; in one dataset alone, each input reads them many times
    good(files->make_link(file, folder, "link" + std::to_string(i) + std::string(200, 'n')));
  }
  good(files->write(other, 0, raw("changed"), 100));
  good(files->unlink(kRootNode, "long"));
  for (const NodeId node : {folder, file, target, other}) {
    files->forget(node, 1);
  }
  good(pool.sync());
  // Only in the intent log:
  const NodeId late = good(files->make_node(caller, kRootNode, "late", S_IFREG | 0600, 0)).node;
  good(files->write(late, 0, raw("logged"), 0));
  good(files->rename(kRootNode, "short", folder, "moved", 0));
  good(files->set_xattr(late, "user.a", "b", 0));
  good(files->unlink(folder, "link7" + std::string(200, 'n')));
  good(pool.make_durable());
}

/// Finds every block that leads somewhere.
class Finder {
 public:
  explicit Finder(CowImage& image) : image_(image), device_(image.bytes) {}

  void find() {
    header_ = good(read_label(device_));
    const Uberblock uberblock = read_uberblocks(device_, header_).front();
    image_.scratch_end = header_.device_bytes - kLabelBytes;
    image_.scratch = image_.scratch_end - kScratchBytes;
    const std::uint64_t second = label_offset(header_.device_bytes, 1);
    add(CowNode::Proof::seal, 0, second, kSector);
    const std::uint64_t slot = (1 + uberblock.group % kUberblocks) * kSector;
    const std::size_t top = add(CowNode::Proof::seal, slot, second + slot, kSector);
    for (std::size_t page = 0; page < header_.table_pages; ++page) {
      const std::size_t table = add(CowNode::Proof::table, uberblock.table[page].address, 0, kSector);
      image_.nodes[table].parents.push_back({top, offsetof(Uberblock, table) + page * sizeof(BlockPointer)});
      for (std::size_t r = page * kPointersPerPage; r < std::min(header_.regions, (page + 1) * kPointersPerPage); ++r) {
        const std::size_t offset = r % kPointersPerPage * sizeof(BlockPointer);
        const auto map = load<BlockPointer>(image_.nodes[table].content.data() + offset);
        image_.nodes[add(CowNode::Proof::table, map.address, 0, static_cast<std::uint32_t>(header_.bitmap_bytes))].parents.push_back({table, offset});
      }
    }
    const std::uint64_t log = header_.log_offset + (uberblock.group + 1) % 2 * header_.log_bytes;
    const auto logged = load<std::uint64_t>(image_.bytes.data() + log + 40);  // LogHeader::bytes
    add(CowNode::Proof::seal, log, 0, static_cast<std::uint32_t>(round_up(48 + logged + sizeof(Checksum), kSector)));
    object_set(top, offsetof(Uberblock, meta));
    std::vector<std::size_t> waits(image_.nodes.size());  // for as many children
    for (const CowNode& node : image_.nodes) {
      for (const auto& parent : node.parents) {
        ++waits[parent.node];
      }
    }
    for (std::size_t i = 0; i < waits.size(); ++i) {
      if (waits[i] == 0) {
        image_.order.push_back(i);
      }
    }
    for (std::size_t done = 0; done < image_.order.size(); ++done) {
      for (const auto& parent : image_.nodes[image_.order[done]].parents) {
        if (--waits[parent.node] == 0) {
          image_.order.push_back(parent.node);
        }
      }
    }
    require(image_.order.size() == image_.nodes.size(), "the image goes in circles");
  }

 private:
  std::size_t add(CowNode::Proof proof, std::uint64_t address, std::uint64_t mirror, std::uint32_t bytes) {
    CowNode node;
    node.proof = proof;
    node.address = address;
    node.mirror = mirror;
    node.physical_bytes = bytes;
    node.content.assign(image_.bytes.data() + address, image_.bytes.data() + address + bytes);
    image_.nodes.push_back(std::move(node));
    return image_.nodes.size() - 1;
  }

  /// The block that a parent's pointer names; whether it was not met before.
  bool enter(std::size_t parent, std::size_t offset, std::size_t& node) {
    const auto pointer = load<BlockPointer>(image_.nodes[parent].content.data() + offset);
    const auto [known, fresh] = met_.emplace(pointer.address, image_.nodes.size());
    node = known->second;
    if (fresh) {
      add(CowNode::Proof::pointer, pointer.address, 0, pointer.physical_bytes);
      auto& content = image_.nodes[node].content;
      const BytesRef decoded = good(decode(pointer, std::make_shared<cow_fs::Bytes>(content.begin(), content.end())));
      content.assign(decoded->begin(), decoded->end());
    }
    image_.nodes[node].parents.push_back({parent, offset});
    return fresh;
  }

  void object_set(std::size_t parent, std::size_t offset) {
    std::size_t node = 0;
    if (enter(parent, offset, node)) {
      const auto block = load<ObjectSetBlock>(image_.nodes[node].content.data());
      tree(node, offsetof(ObjectSetBlock, dnodes) + offsetof(Dnode, root), block.dnodes.levels - 1U, true);
    }
  }

  void tree(std::size_t parent, std::size_t offset, unsigned level, bool dnodes) {
    const auto pointer = load<BlockPointer>(image_.nodes[parent].content.data() + offset);
    std::size_t node = 0;
    if (pointer.is_hole() || pointer.kind == BlockKind::data || !enter(parent, offset, node)) {
      return;
    }
    const std::size_t bytes = image_.nodes[node].content.size();
    for (std::size_t at = 0; level > 0 && at < bytes; at += sizeof(BlockPointer)) {
      tree(node, at, level - 1, dnodes);
    }
    for (std::size_t at = 0; level == 0 && dnodes && at < bytes; at += kDnodeBytes) {
      const auto dnode = load<Dnode>(image_.nodes[node].content.data() + at);
      if (dnode.type != ObjectType::free) {
        tree(node, at + offsetof(Dnode, root), dnode.levels - 1U, false);
      }
      if (dnode.type == ObjectType::dataset) {
        object_set(node, at + offsetof(Dnode, bonus) + offsetof(DatasetRecord, objects));
      }
    }
  }

  CowImage& image_;
  MemoryDevice device_;
  LabelHeader header_;
  std::map<std::uint64_t, std::size_t> met_;
};

CowImage make_image() {
  MemoryDevice device(5 * kMiB);
  good(Pool::format(device));
  OpenOptions options;
  options.commit_interval_ms = 0;
  const auto pool = good(Pool::open(device, options));
  fill(*pool);
  CowImage image;
  image.bytes = device.bytes();
  Finder(image).find();
  return image;
}

/// Changes wanted, by node; then the blocks, children first.
class Damager {
 public:
  Damager(PatchedDevice& device, Reader& input) : device_(device), input_(input), scratch_(cow_image().scratch) {}

  void run() {
    const auto& nodes = cow_image().nodes;
    for (int changes = 0; changes < 32; ++changes) {
      const unsigned kind = input_.byte();
      if (kind % 8 == 0) {
        break;
      }
      const std::size_t node = input_.byte() % nodes.size();
      Change change;
      change.at = input_.number(2) % nodes[node].content.size();
      if (kind % 8 <= 3) {
        const fuzz::Bytes bytes = input_.bytes(1 + kind / 8 % 8);
        change.bytes.assign(bytes.begin(), bytes.end());
      } else if (kind % 8 == 4) {
        static constexpr std::uint64_t kOdd[] = {0, 1, 2, 4095, 4096, 1 << 20, ~std::uint64_t{0} >> 1, ~std::uint64_t{0}};
        change.at = change.at / 8 * 8;
        change.bytes.assign(reinterpret_cast<const char*>(&kOdd[kind / 8 % 8]), 8);
      } else {  // a pointer, a dnode or a number from elsewhere
        const std::size_t unit = kind % 8 == 5 ? sizeof(BlockPointer) : kind % 8 == 6 ? std::size_t{kDnodeBytes} : 8;
        const auto& from = nodes[input_.byte() % nodes.size()].content;
        const std::size_t start = input_.number(2) % from.size() / unit * unit;
        change.at = change.at / unit * unit;
        change.bytes.assign(reinterpret_cast<const char*>(from.data() + start), std::min(unit, from.size() - start));
      }
      changes_.emplace(node, std::move(change));
    }
    const bool believed = input_.byte() != 0xff;
    for (const std::size_t node : cow_image().order) {
      write(node, believed);
    }
  }

 private:
  struct Change {
    std::size_t at = 0;
    std::string bytes;
  };

  std::vector<std::byte>& content(std::size_t node) { return contents_.try_emplace(node, cow_image().nodes[node].content).first->second; }

  void put(std::uint64_t address, std::span<const std::byte> bytes) { static_cast<void>(device_.write(address, bytes)); }

  void write(std::size_t number, bool believed) {
    const CowNode& node = cow_image().nodes[number];
    const auto [first, last] = changes_.equal_range(number);
    for (auto each = first; each != last; ++each) {
      auto& now = content(number);
      std::memcpy(now.data() + each->second.at, each->second.bytes.data(), std::min(each->second.bytes.size(), now.size() - each->second.at));
    }
    const auto found = contents_.find(number);
    if (found == contents_.end()) {
      return;
    }
    std::vector<std::byte>& now = found->second;
    if (node.proof == CowNode::Proof::seal) {
      if (believed) {
        seal(now);
      }
      put(node.address, now);
      if (node.mirror != 0) {
        put(node.mirror, now);
      }
      return;
    }
    BlockPointer pointer;
    pointer.address = node.address;
    std::span<const std::byte> physical = now;
    if (node.proof == CowNode::Proof::pointer) {
      std::size_t used = now.size();
      while (used > 8 && load<std::uint64_t>(now.data() + used - 8) == 0) {
        used -= 8;
      }
      physical = physical.first(round_up(used, kSector));
      if (physical.size() > node.physical_bytes) {
        if (scratch_ + physical.size() > cow_image().scratch_end) {
          return;
        }
        pointer.address = scratch_;
        scratch_ += physical.size();
      }
    }
    put(pointer.address, physical);
    pointer.physical_bytes = static_cast<std::uint32_t>(physical.size());
    pointer.checksum = fletcher4(physical);
    for (const auto& parent : node.parents) {
      std::byte* const at = content(parent.node).data() + parent.offset;
      if (node.proof == CowNode::Proof::pointer) {
        store(at + offsetof(BlockPointer, address), pointer.address);
        store(at + offsetof(BlockPointer, physical_bytes), pointer.physical_bytes);
        store(at + offsetof(BlockPointer, compression), pointer.compression);
      }
      if (believed) {
        store(at + offsetof(BlockPointer, checksum), pointer.checksum);
      }
    }
  }

  PatchedDevice& device_;
  Reader& input_;
  std::uint64_t scratch_;
  std::multimap<std::size_t, Change> changes_;
  std::map<std::size_t, std::vector<std::byte>> contents_;
};

}  // namespace

const CowImage& cow_image() {
  static const CowImage image = make_image();
  return image;
}

void damage_cow(PatchedDevice& device, Reader& input) { Damager(device, input).run(); }

}  // namespace sbench::fuzz
