#include "drivers/thin_pool/space_map.h"

#include <limits>

namespace sbench::thin_pool {

namespace {

std::uint64_t pages_of(std::uint64_t size) { return (size + kCountsPerPage - 1) / kCountsPerPage; }
std::uint64_t indexes_of(std::uint64_t pages) { return (pages + kLinksPerIndex - 1) / kLinksPerIndex; }

}  // namespace

SpaceMap::SpaceMap(BlockCache& cache, std::string name, std::uint64_t size)
    : cache_(cache),
      name_(std::move(name)),
      size_(size),
      places_(pages_of(size)),
      index_places_(places_.size() > kLinksPerIndex ? indexes_of(places_.size()) : 0),
      held_(size),
      full_(places_.size()) {}

Status SpaceMap::load(const SpaceMapRoot& root) {
  allocated_ = root.allocated;
  root_place_ = root.root;
  if (root_place_ == 0) {
    return {};
  }
  SBENCH_TRY_SET(const BlockPtr top, cache_.read(root_place_, BlockKind::index));
  auto& first_level = two_levels() ? index_places_ : places_;
  std::copy_n(top->body<std::uint64_t>(), first_level.size(), first_level.begin());
  for (std::uint64_t i = 0; i < index_places_.size(); ++i) {
    if (index_places_[i] == 0) {
      continue;
    }
    SBENCH_TRY_SET(const BlockPtr index, cache_.read(index_places_[i], BlockKind::index));
    const std::uint64_t first = i * kLinksPerIndex;
    std::copy_n(index->body<std::uint64_t>(), std::min(kLinksPerIndex, places_.size() - first),
                places_.begin() + static_cast<std::ptrdiff_t>(first));
  }
  return {};
}

/// The page as it is now; null when all its counts are 0.
Result<const Block*> SpaceMap::page(std::uint64_t number) {
  if (const auto found = changed_.find(number); found != changed_.end()) {
    return found->second.block.get();
  }
  if (places_[number] == 0) {
    return static_cast<const Block*>(nullptr);
  }
  SBENCH_TRY_SET(keeper_, cache_.read(places_[number], BlockKind::counts));
  return static_cast<const Block*>(keeper_.get());
}

Result<std::uint32_t> SpaceMap::count(std::uint64_t block) {
  if (block >= size_) {
    return plain_error(EUCLEAN, "the {} space map has no block {}: a reference to it is damaged", name_, block);
  }
  SBENCH_TRY_SET(const Block* counts, page(block / kCountsPerPage));
  return counts == nullptr ? 0 : counts->body<std::uint32_t>()[block % kCountsPerPage];
}

Result<std::uint32_t*> SpaceMap::changeable(std::uint64_t block) {
  if (block >= size_) {
    return plain_error(EUCLEAN, "the {} space map has no block {}: a reference to it is damaged", name_, block);
  }
  const std::uint64_t number = block / kCountsPerPage;
  auto found = changed_.find(number);
  if (found == changed_.end()) {
    SBENCH_TRY_SET(const Block* old, page(number));
    found = changed_.emplace(number, Page{old == nullptr ? std::make_shared<Block>() : std::make_shared<Block>(*old)}).first;
  }
  return found->second.block->body<std::uint32_t>() + block % kCountsPerPage;
}

Status SpaceMap::add(std::uint64_t block) {
  SBENCH_TRY_SET(std::uint32_t* const count, changeable(block));
  if (*count == std::numeric_limits<std::uint32_t>::max()) {
    return plain_error(EUCLEAN, "the {} space map is damaged: block {} has too many references", name_, block);
  }
  if ((*count)++ == 0) {
    ++allocated_;
    unhold(block);
  }
  return {};
}

Result<std::uint32_t> SpaceMap::remove(std::uint64_t block) {
  SBENCH_TRY_SET(std::uint32_t* const count, changeable(block));
  if (*count == 0) {
    return plain_error(EUCLEAN, "the {} space map is damaged: block {} is in use but has no reference", name_, block);
  }
  if (--*count == 0) {
    --allocated_;
    hold(block);
    freed_.push_back(block);
  }
  return *count;
}

Result<std::uint64_t> SpaceMap::reserve() {
  const std::uint64_t pages = places_.size();
  for (std::uint64_t tried = 0; tried <= pages; ++tried) {  // the first page twice: it may be begun in its middle
    const std::uint64_t number = next_ / kCountsPerPage;
    const std::uint64_t end = std::min(size_, (number + 1) * kCountsPerPage);
    if (!full_[number]) {
      SBENCH_TRY_SET(const Block* counts, page(number));
      for (std::uint64_t block = next_; block < end; ++block) {
        if (!held_[block] && (counts == nullptr || counts->body<std::uint32_t>()[block % kCountsPerPage] == 0)) {
          hold(block);
          next_ = block + 1 < size_ ? block + 1 : 0;
          return block;
        }
      }
      full_[number] = next_ == number * kCountsPerPage;
    }
    next_ = end < size_ ? end : 0;
  }
  return plain_error(ENOSPC, "the pool is out of {} space: all {} blocks are in use", name_, size_);
}

void SpaceMap::hold(std::uint64_t block) {
  SBENCH_CHECK(!held_[block]);
  held_[block] = true;
  ++held_count_;
}

void SpaceMap::unhold(std::uint64_t block) {
  if (held_[block]) {
    held_[block] = false;
    --held_count_;
    full_[block / kCountsPerPage] = false;
  }
}

bool SpaceMap::has_unplaced() const {
  return std::any_of(changed_.begin(), changed_.end(), [](const auto& each) { return !each.second.placed; });
}

Status SpaceMap::move(std::uint64_t& place, SpaceMap& metadata, const BlockPtr& block, BlockKind kind) {
  SBENCH_TRY_SET(const std::uint64_t fresh, metadata.reserve());
  SBENCH_TRY(metadata.add(fresh));
  if (place != 0) {
    SBENCH_TRY(metadata.remove(place));
  }
  place = fresh;
  cache_.place(block, fresh, kind);
  return {};
}

Status SpaceMap::relocate(SpaceMap& metadata) {
  for (bool moved = true; moved;) {
    moved = false;
    for (auto& [number, page] : changed_) {  // a page that appears meanwhile is met now or in the next round
      if (page.placed) {
        continue;
      }
      page.placed = true;
      moved = true;
      SBENCH_TRY(move(places_[number], metadata, page.block, BlockKind::counts));
      if (two_levels() && !changed_index_.contains(number / kLinksPerIndex)) {
        auto index = std::make_shared<Block>();
        SBENCH_TRY(move(index_places_[number / kLinksPerIndex], metadata, index, BlockKind::index));
        changed_index_.emplace(number / kLinksPerIndex, std::move(index));
      }
      if (changed_root_ == nullptr) {
        changed_root_ = std::make_shared<Block>();
        SBENCH_TRY(move(root_place_, metadata, changed_root_, BlockKind::index));
      }
    }
  }
  return {};
}

SpaceMapRoot SpaceMap::finish() {
  for (const auto& [number, index] : changed_index_) {
    const std::uint64_t first = number * kLinksPerIndex;
    std::copy_n(places_.begin() + static_cast<std::ptrdiff_t>(first), std::min(kLinksPerIndex, places_.size() - first),
                index->body<std::uint64_t>());
  }
  if (changed_root_ != nullptr) {
    const auto& first_level = two_levels() ? index_places_ : places_;
    std::copy(first_level.begin(), first_level.end(), changed_root_->body<std::uint64_t>());
  }
  return {root_place_, size_, allocated_};
}

void SpaceMap::seal() {
  SBENCH_CHECK(!has_unplaced() && sealed_freed_.empty());
  changed_.clear();
  changed_index_.clear();
  changed_root_.reset();
  sealed_freed_ = std::move(freed_);
  freed_.clear();
}

void SpaceMap::release_sealed() {
  for (const std::uint64_t block : sealed_freed_) {
    unhold(block);
  }
  sealed_freed_.clear();
}

Status SpaceMap::for_each_own_block(const std::function<Status(std::uint64_t)>& visit) const {
  if (root_place_ != 0) {
    SBENCH_TRY(visit(root_place_));
  }
  for (const auto* places : {&index_places_, &places_}) {
    for (const std::uint64_t place : *places) {
      if (place != 0) {
        SBENCH_TRY(visit(place));
      }
    }
  }
  return {};
}

}  // namespace sbench::thin_pool
