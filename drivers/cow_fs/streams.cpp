#include "drivers/cow_fs/streams.h"

#include <algorithm>

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kPieceBytesMax = 1 << 20;
constexpr std::uint64_t kPieceBytesMin = 64 << 10;
constexpr std::uint64_t kPieceBytesBehind = 512 << 10;

}  // namespace

bool Streams::load(Stream& stream, std::uint64_t address, std::uint64_t block_bytes) {
  const auto read = [&io = io_](std::uint64_t at, std::uint64_t bytes) {
    Bytes piece(bytes);
    return io.read(at, piece).ok() ? std::move(piece) : Bytes();
  };
  const bool goes_on = stream.coming_bytes > 0 && !stream.piece.empty() && address >= stream.at && address <= stream.coming_at;
  if (goes_on) {  // with what is left of the piece
    Bytes next = stream.coming.get();
    const std::uint64_t left = stream.coming_at - address;
    Bytes piece(next.empty() ? 0 : left + next.size());
    if (!next.empty()) {
      std::memcpy(piece.data(), stream.piece.data() + (address - stream.at), left);
      std::memcpy(piece.data() + left, next.data(), next.size());
    }
    stream.piece = std::move(piece);
  } else {
    stream.ahead_bytes = std::clamp(2 * std::max(stream.ahead_bytes, block_bytes), kPieceBytesMin, kPieceBytesMax);
    stream.piece = read(address, std::min(stream.ahead_bytes, io_.size_bytes() - address));
  }
  stream.coming_bytes = 0;
  stream.at = address;
  const std::uint64_t end = address + stream.piece.size();
  if (stream.piece.size() >= kPieceBytesBehind && end < io_.size_bytes()) {
    stream.coming_at = end;
    stream.coming_bytes = std::min(kPieceBytesMax, io_.size_bytes() - end);
    stream.coming = std::async(std::launch::async, read, stream.coming_at, stream.coming_bytes);
  }
  return stream.piece.size() >= block_bytes;
}

Status Streams::read(std::uint64_t address, std::span<std::byte> into) {
  ++uses_;
  for (Stream& stream : streams_) {
    const bool holds = address >= stream.at && address - stream.at <= stream.piece.size() &&
                       into.size() <= stream.piece.size() - (address - stream.at);
    if (!holds && (stream.next != address || into.size() > kPieceBytesMax / 2)) {
      continue;
    }
    if (!holds && !load(stream, address, into.size())) {
      stream.next = 0;
      break;  // what cannot be read may lie behind
    }
    std::memcpy(into.data(), stream.piece.data() + (address - stream.at), into.size());
    stream.next = address + into.size();
    stream.last_use = uses_;
    return {};
  }
  SBENCH_TRY(io_.read(address, into));
  Stream& oldest = *std::min_element(streams_.begin(), streams_.end(),
                                     [](const Stream& a, const Stream& b) { return a.last_use < b.last_use; });
  oldest = {};
  oldest.next = address + into.size();
  oldest.last_use = uses_;
  return {};
}

void Streams::forget(std::uint64_t address, std::uint64_t bytes) {
  for (Stream& stream : streams_) {
    if (address < stream.at + stream.piece.size() && stream.at < address + bytes) {
      stream.piece.clear();
      stream.at = 0;
    }
    if (address < stream.coming_at + stream.coming_bytes && stream.coming_at < address + bytes) {
      stream.coming.wait();
      stream.coming_bytes = 0;
    }
  }
}

}  // namespace sbench::cow_fs
