#include "drivers/cow_fs/streams.h"

#include <algorithm>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kPieceBytesMax = 1 << 20;
constexpr std::uint64_t kPieceBytesMin = 64 << 10;

}  // namespace

Status Streams::read(std::uint64_t address, std::span<std::byte> into) {
  ++uses_;
  for (Stream& stream : streams_) {
    const bool holds = address >= stream.at && address - stream.at <= stream.piece.size() &&
                       into.size() <= stream.piece.size() - (address - stream.at);
    if (!holds && (stream.next != address || into.size() > kPieceBytesMax / 2)) {
      continue;
    }
    if (!holds) {
      const std::uint64_t wanted = std::clamp(std::max<std::uint64_t>(2 * stream.ahead_bytes, 2 * into.size()), kPieceBytesMin, kPieceBytesMax);
      Bytes piece(std::min(wanted, io_.size_bytes() - address));
      stream.piece.clear();
      if (!io_.read(address, piece).ok()) {
        stream.next = 0;
        break;  // what cannot be read may lie behind
      }
      stream.piece = std::move(piece);
      stream.at = address;
      stream.ahead_bytes = wanted;
    }
    std::memcpy(into.data(), stream.piece.data() + (address - stream.at), into.size());
    stream.next = address + into.size();
    stream.last_use = uses_;
    return {};
  }
  SBENCH_TRY(io_.read(address, into));
  Stream& oldest = *std::min_element(streams_.begin(), streams_.end(),
                                     [](const Stream& a, const Stream& b) { return a.last_use < b.last_use; });
  oldest = {address + into.size(), 0, 0, {}, uses_};
  return {};
}

void Streams::forget(std::uint64_t address, std::uint64_t bytes) {
  for (Stream& stream : streams_) {
    if (address < stream.at + stream.piece.size() && stream.at < address + bytes) {
      stream.piece.clear();
      stream.at = 0;
    }
  }
}

}  // namespace sbench::cow_fs
