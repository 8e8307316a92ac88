#include "drivers/cow_fs/block_store.h"

#include <lz4.h>

#include <algorithm>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kCollectedBytesMax = 4 << 20;
constexpr std::size_t kTransferBytesMax = 1 << 20;
constexpr std::size_t kJoinedBytesMax = 64 << 10;
constexpr std::size_t kLengthBytes = sizeof(std::uint32_t);  // before compressed data: how many bytes it has

/// Bytes up to the last one that is not zero.
std::size_t content_bytes(const Bytes& bytes) {
  std::size_t length = bytes.size();
  while (length >= 8 && load<std::uint64_t>(bytes.data() + length - 8) == 0) {
    length -= 8;
  }
  return length;
}

}  // namespace

std::string describe(const BlockPointer& pointer) {
  return fmt::format("{} block at {} (level {}, group {})", to_string(pointer.kind), pointer.address, pointer.level,
                     pointer.birth);
}

bool BlockStore::is_plausible(const BlockPointer& pointer) const {
  return pointer.address % kSector == 0 && pointer.physical_bytes % kSector == 0 && pointer.physical_bytes > 0 &&
         pointer.logical_bytes % kSector == 0 && pointer.logical_bytes <= kRecordMax && pointer.logical_bytes > 0 &&
         pointer.physical_bytes <= pointer.logical_bytes && pointer.compression <= Compression::lz4 &&
         holds_blocks(header_, pointer.address, pointer.physical_bytes);
}

Result<BytesRef> decode(const BlockPointer& pointer, BytesRef physical) {
  if (fletcher4(*physical) != pointer.checksum) {
    return plain_error(EUCLEAN, "{}: its checksum does not match", describe(pointer));
  }
  if (pointer.compression == Compression::off && pointer.physical_bytes == pointer.logical_bytes) {
    return physical;
  }
  auto content = std::make_shared<Bytes>(pointer.logical_bytes);
  if (pointer.compression == Compression::off) {
    std::memcpy(content->data(), physical->data(), physical->size());
    std::memset(content->data() + physical->size(), 0, content->size() - physical->size());
    return BytesRef(std::move(content));
  }
  const auto length = load<std::uint32_t>(physical->data());
  if (length > physical->size() - kLengthBytes ||
      LZ4_decompress_safe(reinterpret_cast<const char*>(physical->data() + kLengthBytes),
                          reinterpret_cast<char*>(content->data()), static_cast<int>(length),
                          static_cast<int>(content->size())) != static_cast<int>(content->size())) {
    return plain_error(EUCLEAN, "{}: its compressed data is damaged", describe(pointer));
  }
  return BytesRef(std::move(content));
}

BlockStore::~BlockStore() { static_cast<void>(finish_writing()); }

BytesRef BlockStore::find(const BlockPointer& pointer) {
  const auto found = cache_.find(pointer.address);
  if (found == cache_.end() || found->second.birth != pointer.birth ||
      found->second.content->size() != pointer.logical_bytes) {
    return nullptr;
  }
  uses_.splice(uses_.begin(), uses_, found->second.use);
  return found->second.content;
}

bool BlockStore::is_cached(const BlockPointer& pointer) const {
  const auto found = cache_.find(pointer.address);
  return found != cache_.end() && found->second.birth == pointer.birth;
}

Result<BytesRef> BlockStore::read(const BlockPointer& pointer) {
  if (auto content = find(pointer)) {
    ++hits_;
    return content;
  }
  ++misses_;
  if (!is_plausible(pointer)) {
    return plain_error(EUCLEAN, "{}: its pointer makes no sense", describe(pointer));
  }
  SBENCH_TRY(write_collected());
  auto physical = std::make_shared<Bytes>(pointer.physical_bytes);
  SBENCH_TRY(streams_.read(pointer.address, *physical));
  SBENCH_TRY_SET(auto content, decode(pointer, std::move(physical)));
  put(pointer.address, pointer.birth, content);
  return content;
}

void BlockStore::read_ahead(std::span<const BlockPointer> pointers) {
  std::vector<std::pair<const BlockPointer*, std::shared_ptr<Bytes>>> wanted;
  std::vector<BlockIo::Fill> fills;
  for (const auto& pointer : pointers) {
    if (!pointer.is_hole() && is_plausible(pointer) && !is_cached(pointer)) {
      wanted.emplace_back(&pointer, std::make_shared<Bytes>(pointer.physical_bytes));
      fills.push_back({pointer.address, *wanted.back().second});
    }
  }
  if (fills.empty() || !write_collected().ok() || !io_.read_all(fills).ok()) {
    return;
  }
  for (auto& [pointer, physical] : wanted) {
    if (auto content = decode(*pointer, std::move(physical)); content.ok()) {
      put(pointer->address, pointer->birth, std::move(content).value());
    }
  }
  misses_ += wanted.size();
}

BlockStore::Encoded BlockStore::encode(const BytesRef& content, BlockKind kind, unsigned level, Compression compression) {
  Encoded encoded;
  BlockPointer& pointer = encoded.pointer;
  pointer.logical_bytes = static_cast<std::uint32_t>(content->size());
  pointer.kind = kind;
  pointer.level = static_cast<std::uint8_t>(level);
  const std::size_t stored = std::max(kSector, round_up(content_bytes(*content), kSector));
  if (compression == Compression::lz4 && stored > kSector) {
    // One sector must be saved, or it is not worth the reader's time.
    auto packed = std::make_shared<Bytes>(stored - kSector);
    const int length = LZ4_compress_default(reinterpret_cast<const char*>(content->data()),
                                            reinterpret_cast<char*>(packed->data() + kLengthBytes),
                                            static_cast<int>(content->size()),
                                            static_cast<int>(packed->size() - kLengthBytes));
    if (length > 0) {
      store(packed->data(), static_cast<std::uint32_t>(length));
      const std::size_t used = kLengthBytes + static_cast<std::size_t>(length);
      packed->resize(round_up(used, kSector));
      std::memset(packed->data() + used, 0, packed->size() - used);
      pointer.compression = Compression::lz4;
      encoded.physical = std::move(packed);
    }
  }
  if (!encoded.physical) {
    encoded.physical = content;
    if (stored < content->size()) {
      encoded.physical = std::make_shared<Bytes>(content->begin(), content->begin() + static_cast<std::ptrdiff_t>(stored));
    }
  }
  pointer.physical_bytes = static_cast<std::uint32_t>(encoded.physical->size());
  pointer.checksum = fletcher4(*encoded.physical);
  return encoded;
}

Status BlockStore::write(const Encoded& encoded, const BytesRef& content) {
  collected_.emplace_back(encoded.pointer.address, encoded.physical);
  collected_bytes_ += encoded.physical->size();
  put(encoded.pointer.address, encoded.pointer.birth, content);
  return collected_bytes_ >= kCollectedBytesMax ? begin_collected() : Status();
}

Status BlockStore::begin_collected() {
  SBENCH_TRY(finish_writing());
  if (collected_.empty()) {
    return {};
  }
  // Small blocks that stand side by side go in one transfer: copying costs less than asking the device more often.
  std::sort(collected_.begin(), collected_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<BlockIo::Transfer> transfers;
  for (std::size_t first = 0; first < collected_.size();) {
    std::size_t end = first + 1;
    std::size_t bytes = collected_[first].second->size();
    while (collected_[first].second->size() < kJoinedBytesMax && end < collected_.size() &&
           collected_[end].first == collected_[first].first + bytes && collected_[end].second->size() < kJoinedBytesMax &&
           bytes + collected_[end].second->size() <= kTransferBytesMax) {
      bytes += collected_[end++].second->size();
    }
    BytesRef data = collected_[first].second;
    if (end > first + 1) {
      const auto joined = std::make_shared<Bytes>(bytes);
      std::size_t at = 0;
      for (std::size_t i = first; i < end; ++i) {
        std::memcpy(joined->data() + at, collected_[i].second->data(), collected_[i].second->size());
        at += collected_[i].second->size();
      }
      data = joined;
    }
    transfers.push_back({collected_[first].first, *data});
    streams_.forget(collected_[first].first, bytes);
    writing_.push_back(std::move(data));
    first = end;
  }
  collected_.clear();
  collected_bytes_ = 0;
  return note(io_.begin_writes(transfers));
}

Status BlockStore::finish_writing() {
  Status finished = note(io_.finish_writes());
  writing_.clear();
  return finished;
}

Status BlockStore::note(const Status& status) {
  if (failed_.ok()) {
    failed_ = status;
  }
  return failed_;
}

Status BlockStore::write_collected() {
  if (!collected_.empty()) {
    SBENCH_TRY(begin_collected());
  }
  return writing_.empty() ? failed_ : finish_writing();
}

void BlockStore::put(std::uint64_t address, std::uint64_t birth, BytesRef content) {
  forget(address);
  cached_ += content->size();
  uses_.push_front(address);
  cache_[address] = {birth, std::move(content), uses_.begin()};
  while (cached_ > cache_bytes_ && uses_.size() > 1) {
    forget(uses_.back());
  }
}

void BlockStore::forget(std::uint64_t address) {
  const auto found = cache_.find(address);
  if (found != cache_.end()) {
    cached_ -= found->second.content->size();
    uses_.erase(found->second.use);
    cache_.erase(found);
  }
}

void BlockStore::drop_cache() {
  cache_.clear();
  uses_.clear();
  cached_ = 0;
  streams_.forget_all();
}

}  // namespace sbench::cow_fs
