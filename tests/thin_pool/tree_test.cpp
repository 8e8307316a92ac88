// tree_test.cpp: the B-tree against std::map, the space map against a vector, both across transactions.
#include <limits>

#include "drivers/thin_pool/metadata.h"
#include "tests/thin_pool/pool_test.h"

namespace sbench::thin_pool {
namespace {

constexpr std::uint64_t kKeyMax = std::numeric_limits<std::uint64_t>::max();

/// A cache and a metadata space map in memory, and the committing of both.
struct Ground {
  explicit Ground(std::uint64_t blocks = 4096) : device(blocks * kBlockBytes), cache(device, blocks, 0, 16), map(cache, "test", blocks) {
    must(map.add(0));
    must(map.add(1));
  }
  void commit() {
    must(map.relocate(map));
    root = map.finish();
    const auto sealed = cache.seal();
    map.seal();
    must(cache.write(sealed));
    cache.settle();
    map.release_sealed();
  }
  MemoryDevice device;
  BlockCache cache;
  SpaceMap map;
  SpaceMapRoot root;
};

const std::byte* bytes_of(const std::uint64_t& value) { return reinterpret_cast<const std::byte*>(&value); }

std::map<std::uint64_t, std::uint64_t> content(BTree& tree, std::uint64_t root) {
  std::map<std::uint64_t, std::uint64_t> found;
  must(tree.for_each(root, 0, kKeyMax, [&](std::uint64_t key, const std::byte* value) -> Result<bool> {
    std::uint64_t number = 0;
    std::memcpy(&number, value, sizeof(number));
    EXPECT_TRUE(found.emplace(key, number).second) << key;
    return true;
  }));
  return found;
}

class Tree : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(KeyOrders, Tree, testing::Values(0, 1, 2),
                         [](const auto& each) {
                           return each.param == 0 ? "ascending" : each.param == 1 ? "descending" : "random";
                         });

TEST_P(Tree, holds_what_a_map_holds_through_inserts_overwrites_and_erasures) {
  Ground ground;
  BTree tree(ground.cache, ground.map, BlockKind::mapping, 8);
  std::map<std::uint64_t, std::uint64_t> model;
  std::uint64_t root = must(tree.make_empty());
  Rng rng(test_seed(), "tree");
  for (std::uint64_t i = 0; i < 20'000; ++i) {
    const std::uint64_t key = GetParam() == 0 ? i : GetParam() == 1 ? 100'000 - i : rng.below(30'000);
    root = must(tree.insert(root, key, bytes_of(i)));
    model[key] = i;
    if (i % 1000 == 999) {
      ground.commit();
    }
  }
  EXPECT_EQ(content(tree, root), model);
  std::vector<std::uint64_t> keys;
  for (const auto& [key, value] : model) {
    keys.push_back(key);
  }
  if (GetParam() == 2) {
    rng.shuffle(keys);
  }
  for (std::size_t i = 0; i < keys.size(); ++i) {
    root = must(tree.erase(root, keys[i]));
    model.erase(keys[i]);
    std::uint64_t value = 0;
    EXPECT_FALSE(must(tree.find(root, keys[i], reinterpret_cast<std::byte*>(&value))));
    if (i % 1000 == 0) {
      ground.commit();
      ASSERT_EQ(content(tree, root), model) << "after " << i << " erasures";
    }
  }
  ground.commit();
  EXPECT_TRUE(content(tree, root).empty());
  must(tree.drop(root));
  ground.commit();
  std::uint64_t own = 0;
  must(ground.map.for_each_own_block([&own](std::uint64_t) -> Status {
    ++own;
    return {};
  }));
  EXPECT_EQ(ground.map.allocated(), 2 + own) << "the slots and the map itself are left";
}

TEST(Tree, a_shared_root_keeps_its_content_while_the_other_changes) {
  Ground ground;
  std::map<std::uint64_t, int> references;
  const auto count = [&references](int by) {
    return [&references, by](const std::byte* value) -> Status {
      std::uint64_t number = 0;
      std::memcpy(&number, value, sizeof(number));
      references[number] += by;
      return {};
    };
  };
  BTree tree(ground.cache, ground.map, BlockKind::mapping, 8, count(1), count(-1));
  std::uint64_t root = must(tree.make_empty());
  for (std::uint64_t key = 0; key < 2000; ++key) {
    root = must(tree.insert(root, key, bytes_of(key)));
    references[key] = 1;
  }
  ground.commit();
  const auto before = content(tree, root);
  must(ground.map.add(root));
  const auto used = ground.map.allocated();
  std::uint64_t other = must(tree.erase(root, 1000));
  references[1000] -= 1;
  ground.commit();
  EXPECT_LE(ground.map.allocated(), used + 2) << "only the path to the change is copied";
  EXPECT_EQ(content(tree, root), before);
  EXPECT_EQ(content(tree, other).size(), before.size() - 1);
  EXPECT_EQ(references[1000], 1) << "one leaf still names it";
  EXPECT_EQ(references[999], 2) << "two leaves name its neighbours";
  EXPECT_EQ(references[0], 1) << "a leaf both trees share counts once";
  must(tree.drop(other));
  ground.commit();
  EXPECT_EQ(ground.map.allocated(), used);
  for (const auto& [value, left] : references) {
    ASSERT_EQ(left, 1) << value;
  }
}

TEST(SpaceMapOfBlocks, counts_what_a_vector_counts_and_survives_loading) {
  constexpr std::uint64_t kChunks = kCountsPerPage * (kLinksPerIndex + 3);  // two levels of index blocks
  Ground ground;
  SpaceMap chunks(ground.cache, "data", kChunks);
  std::map<std::uint64_t, std::uint32_t> model;
  Rng rng(test_seed(), "space map");
  SpaceMapRoot root;
  for (int round = 0; round < 20; ++round) {
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t chunk = rng.below(4) == 0 ? must(chunks.reserve()) : rng.below(kChunks);
      if (model[chunk] > 0 && rng.below(2) == 0) {
        EXPECT_EQ(must(chunks.remove(chunk)), --model[chunk]);
      } else {
        must(chunks.add(chunk));
        ++model[chunk];
      }
    }
    must(chunks.relocate(ground.map));
    root = chunks.finish();
    ground.commit();
    chunks.seal();
    chunks.release_sealed();
  }
  SpaceMap loaded(ground.cache, "data", kChunks);
  must(loaded.load(root));
  std::uint64_t used = 0;
  for (const auto& [chunk, count] : model) {
    ASSERT_EQ(must(loaded.count(chunk)), count) << chunk;
    used += count > 0 ? 1 : 0;
  }
  EXPECT_EQ(loaded.allocated(), used);
  EXPECT_EQ(code_of(loaded.count(kChunks)), EUCLEAN);
}

TEST(SpaceMapOfBlocks, gives_no_block_twice_and_freed_ones_only_after_the_commit) {
  Ground ground(64);
  SpaceMap chunks(ground.cache, "data", 8);
  std::set<std::uint64_t> given;
  for (int i = 0; i < 8; ++i) {
    const std::uint64_t chunk = must(chunks.reserve());
    EXPECT_TRUE(given.insert(chunk).second);
    must(chunks.add(chunk));
  }
  EXPECT_EQ(code_of(chunks.reserve()), ENOSPC);
  must(chunks.remove(3));
  EXPECT_EQ(code_of(chunks.reserve()), ENOSPC) << "the last committed transaction still reads it";
  must(chunks.relocate(ground.map));
  static_cast<void>(chunks.finish());
  ground.commit();
  chunks.seal();
  EXPECT_EQ(code_of(chunks.reserve()), ENOSPC) << "written, but not known to be";
  chunks.release_sealed();
  EXPECT_EQ(must(chunks.reserve()), 3u);
}

TEST(Mappings, a_device_may_have_any_24_bit_id_and_a_time_of_24_bits) {
  const Mapping mapping{Mapping::kZeroBlock - 1, kTimes - 1};
  EXPECT_EQ(Mapping::unpack(mapping.pack()).block, mapping.block);
  EXPECT_EQ(Mapping::unpack(mapping.pack()).time, mapping.time);
  TestPool test;
  must(test.pool->create_device(kDeviceIds - 1, kMiB));
  EXPECT_EQ(code_of(test.pool->create_device(kDeviceIds, kMiB)), EINVAL);
  EXPECT_THAT(must(test.pool->device_ids()), testing::ElementsAre(kDeviceIds - 1));
}

}  // namespace
}  // namespace sbench::thin_pool
