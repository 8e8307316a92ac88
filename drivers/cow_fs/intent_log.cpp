#include "drivers/cow_fs/intent_log.h"

#include <algorithm>
#include <random>

#include "drivers/cow_fs/bytes.h"

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kLogMagic = 0x676f6c65746e6977;  // "winetlog"

struct LogHeader {
  std::uint64_t magic = kLogMagic;
  std::uint64_t guid = 0;
  std::uint64_t group = 0;
  std::uint64_t sequence = 0;
  std::uint64_t nonce = 0;
  std::uint64_t bytes = 0;  ///< of operations, behind this header
};

std::uint64_t block_bytes(std::uint64_t operation_bytes) {
  return round_up(sizeof(LogHeader) + operation_bytes + sizeof(Checksum), kSector);
}

std::uint64_t fresh_nonce() {
  std::random_device random;
  const std::uint64_t upper = random();
  return upper << 32 | random();
}

}  // namespace

IntentLog::IntentLog(BlockIo& io, const LabelHeader& header) : io_(io), header_(header), nonce_(fresh_nonce()) {}

Result<std::string> IntentLog::read(std::uint64_t group) {
  std::string operations;
  const std::uint64_t area = header_.log_offset + group % 2 * header_.log_bytes;
  std::uint64_t nonce = 0;
  for (std::uint64_t at = 0, sequence = 0; at + kSector <= header_.log_bytes; ++sequence) {
    Bytes first(kSector);
    SBENCH_TRY(io_.read(area + at, first));
    const auto header = load<LogHeader>(first.data());
    if (header.magic != kLogMagic || header.guid != header_.guid || header.group != group || header.sequence != sequence ||
        (sequence > 0 && header.nonce != nonce) || header.bytes > header_.log_bytes ||
        block_bytes(header.bytes) > header_.log_bytes - at) {
      break;
    }
    nonce = header.nonce;
    Bytes block(block_bytes(header.bytes));
    SBENCH_TRY(io_.read(area + at, block));
    if (!is_sealed(block)) {
      break;
    }
    operations.append(reinterpret_cast<const char*>(block.data() + sizeof(header)), header.bytes);
    at += block.size();
  }
  return operations;
}

void IntentLog::begin(std::uint64_t group) {
  group_ = group;
  sequence_ = 0;
  used_bytes_ = 0;
  pending_.clear();
  overflown_ = false;
}

void IntentLog::append(const Operation& operation) {
  if (overflown_) {
    return;
  }
  if (used_bytes_ + block_bytes(pending_.size() + sizeof(OperationNumbers) + operation.name.size() + operation.data.size()) >
      header_.log_bytes) {
    overflown_ = true;
    pending_.clear();
    return;
  }
  pack(operation, pending_);
}

Result<bool> IntentLog::write() {
  if (overflown_) {
    return false;
  }
  if (pending_.empty()) {
    return true;
  }
  Bytes block(block_bytes(pending_.size()));
  LogHeader header;
  header.guid = header_.guid;
  header.group = group_;
  header.sequence = sequence_;
  header.nonce = nonce_;
  header.bytes = pending_.size();
  store(block.data(), header);
  std::memcpy(block.data() + sizeof(header), pending_.data(), pending_.size());
  std::memset(block.data() + sizeof(header) + pending_.size(), 0, block.size() - sizeof(header) - pending_.size());
  seal(block);
  SBENCH_TRY(io_.write(header_.log_offset + group_ % 2 * header_.log_bytes + used_bytes_, block));
  used_bytes_ += block.size();
  bytes_written_ += block.size();
  ++sequence_;
  pending_.clear();
  return true;
}

}  // namespace sbench::cow_fs
