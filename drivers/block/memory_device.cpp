#include "drivers/block/memory_device.h"

#include <algorithm>

namespace sbench {

Status MemoryDevice::check(std::uint64_t offset, std::uint64_t length, const char* what) const {
  if ((offset | length) % block_bytes_ != 0 || offset > bytes_.size() || length > bytes_.size() - offset) {
    return plain_error(EINVAL, "cannot {} {} bytes at {}: the device has {} in blocks of {}", what, length, offset,
                       bytes_.size(), block_bytes_);
  }
  for (const auto& [broken, broken_length] : broken_) {
    if (offset < broken + broken_length && broken < offset + length) {
      return plain_error(EIO, "cannot {} {} bytes at {}: the medium is broken", what, length, offset);
    }
  }
  return {};
}

Status MemoryDevice::count_operation() {
  if (operations_left_) {
    if (*operations_left_ == 0) {
      return plain_error(EIO, "the device has no power");
    }
    --*operations_left_;
  }
  ++operations_;
  return {};
}

Status MemoryDevice::read(std::uint64_t offset, std::span<std::byte> buffer) {
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(check(offset, buffer.size(), "read"));
  if (operations_left_ == 0u) {
    return plain_error(EIO, "the device has no power");
  }
  std::copy_n(bytes_.begin() + static_cast<std::ptrdiff_t>(offset), buffer.size(), buffer.begin());
  bytes_read_ += buffer.size();
  return {};
}

Status MemoryDevice::write(std::uint64_t offset, std::span<const std::byte> buffer) {
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(check(offset, buffer.size(), "write"));
  SBENCH_TRY(count_operation());
  for (std::uint64_t at = 0; at < buffer.size(); at += block_bytes_) {
    const auto block = buffer.subspan(at, block_bytes_);
    unflushed_.push_back({offset + at, {block.begin(), block.end()}});
  }
  std::copy(buffer.begin(), buffer.end(), bytes_.begin() + static_cast<std::ptrdiff_t>(offset));
  bytes_written_ += buffer.size();
  return {};
}

Status MemoryDevice::flush() {
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(count_operation());
  for (const auto& write : unflushed_) {
    std::copy(write.data.begin(), write.data.end(), durable_.begin() + static_cast<std::ptrdiff_t>(write.offset));
  }
  unflushed_.clear();
  ++flushes_;
  return {};
}

Status MemoryDevice::discard(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(check(offset, length, "discard"));
  SBENCH_TRY(count_operation());
  // Unspecified content: junk, so that nobody comes to rely on zeros; the medium may lose it at once.
  const auto fill = [&](std::vector<std::byte>& content) {
    std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(offset), length, std::byte{0xdd});
  };
  fill(bytes_);
  fill(durable_);
  std::erase_if(unflushed_, [&](const BlockWrite& write) {
    return write.offset >= offset && write.offset < offset + length;
  });
  bytes_discarded_ += length;
  return {};
}

void MemoryDevice::cut_power_after(std::uint64_t operations) {
  const std::lock_guard lock(mutex_);
  operations_left_ = operations;
}

void MemoryDevice::break_range(std::uint64_t offset, std::uint64_t length) {
  const std::lock_guard lock(mutex_);
  broken_.emplace_back(offset, length);
}

std::vector<std::byte> MemoryDevice::content_after_power_loss(Rng& rng) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::byte> content = durable_;
  std::vector<const BlockWrite*> order;
  for (const auto& write : unflushed_) {
    order.push_back(&write);
  }
  rng.shuffle(order);
  const std::uint64_t kept_of_four = rng.below(5);  // none … all of them
  for (const BlockWrite* write : order) {
    if (rng.below(4) < kept_of_four) {
      std::copy(write->data.begin(), write->data.end(), content.begin() + static_cast<std::ptrdiff_t>(write->offset));
    }
  }
  return content;
}

}  // namespace sbench
