#include "drivers/thin_pool/block_cache.h"

#include <algorithm>
#include <functional>
#include <span>

#include "drivers/base/hash.h"

namespace sbench::thin_pool {

std::uint64_t block_checksum(const std::byte* bytes) {
  return xxh3({bytes + sizeof(std::uint64_t), kBlockBytes - sizeof(std::uint64_t)});
}

Status BlockCache::verify(const Block& block, std::uint64_t number, BlockKind kind) const {
  const BlockHeader& header = block.header();
  const auto damaged = [&](const std::string& fault) {
    return plain_error(EUCLEAN, "metadata block {} ({}) is damaged: {}", number, to_string(kind), fault);
  };
  if (header.checksum != block_checksum(block.bytes)) {
    return damaged("wrong checksum");
  }
  if (header.block != number) {
    return damaged(fmt::format("it says to be block {}", header.block));
  }
  if (header.kind != kind) {
    return damaged(fmt::format("it is a {}", to_string(header.kind)));
  }
  if (header.transaction >= running_) {
    return damaged(fmt::format("transaction {} wrote it, the superblock knows none after {}", header.transaction,
                               running_ - 1));
  }
  // What searches them relies on it; a node that is full beyond its capacity is the tree's to refuse.
  if ((kind == BlockKind::mapping || kind == BlockKind::devices) && header.count <= kBodyBytes / sizeof(std::uint64_t)) {
    const std::span keys(block.body<std::uint64_t>(), header.count);
    if (std::adjacent_find(keys.begin(), keys.end(), std::greater_equal<>()) != keys.end()) {
      return damaged("its keys are out of order");
    }
  }
  return {};
}

Result<BlockPtr> BlockCache::read(std::uint64_t number, BlockKind kind) {
  for (auto* pinned : {&new_, &sealed_}) {
    if (const auto found = pinned->find(number); found != pinned->end()) {
      if (found->second->header().kind != kind) {
        return plain_error(EUCLEAN, "metadata block {} ({}) is damaged: it is a {}, made a moment ago", number,
                           to_string(kind), to_string(found->second->header().kind));
      }
      return found->second;
    }
  }
  if (const auto found = clean_.find(number); found != clean_.end()) {
    if (found->second.block->header().kind != kind) {
      return verify(*found->second.block, number, kind).error();
    }
    recent_.splice(recent_.begin(), recent_, found->second.position);
    return found->second.block;
  }
  if (number < kSuperblockSlots || number >= blocks_) {
    return plain_error(EUCLEAN, "there is no metadata block {} ({}): a reference to it is damaged", number,
                       to_string(kind));
  }
  auto block = std::make_shared<Block>();
  if (const Status done = io_.read(number * kBlockBytes, block->bytes); !done.ok()) {
    return plain_error(done.error().code, "cannot read metadata block {} ({}): {}", number, to_string(kind), done.error().what);
  }
  SBENCH_TRY(verify(*block, number, kind));
  keep(number, block);
  return block;
}

BlockPtr BlockCache::make(std::uint64_t number, BlockKind kind) {
  auto block = std::make_shared<Block>();
  place(block, number, kind);
  return block;
}

void BlockCache::place(const BlockPtr& block, std::uint64_t number, BlockKind kind) {
  BlockHeader& header = block->header();
  header.block = number;
  header.kind = kind;
  header.transaction = running_;
  if (const auto found = clean_.find(number); found != clean_.end()) {  // what stood there was freed
    recent_.erase(found->second.position);
    clean_.erase(found);
  }
  new_[number] = block;
}

std::vector<BlockPtr> BlockCache::seal() {
  SBENCH_CHECK(sealed_.empty());
  std::vector<BlockPtr> blocks;
  blocks.reserve(new_.size());
  for (auto& [number, block] : new_) {
    block->header().checksum = block_checksum(block->bytes);
    blocks.push_back(block);
  }
  sealed_ = std::move(new_);
  new_.clear();
  ++running_;
  return blocks;
}

Status BlockCache::write(const std::vector<BlockPtr>& sealed) const {
  std::vector<BlockIo::Transfer> transfers;
  transfers.reserve(sealed.size());
  for (const auto& block : sealed) {
    transfers.push_back({block->number() * kBlockBytes, block->bytes});
  }
  return io_.write_all(transfers);
}

void BlockCache::settle() {
  for (auto& [number, block] : sealed_) {
    if (!new_.contains(number)) {
      keep(number, std::move(block));
    }
  }
  sealed_.clear();
}

void BlockCache::keep(std::uint64_t number, BlockPtr block) {
  recent_.push_front(number);
  clean_[number] = Clean{std::move(block), recent_.begin()};
  while (clean_.size() > clean_max_) {
    clean_.erase(recent_.back());
    recent_.pop_back();
  }
}

}  // namespace sbench::thin_pool
