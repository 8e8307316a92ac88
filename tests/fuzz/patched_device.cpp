#include "tests/fuzz/patched_device.h"

#include <algorithm>
#include <cstring>

namespace sbench::fuzz {

Status PatchedDevice::check(std::uint64_t offset, std::uint64_t length) const {
  if ((offset | length) % block_bytes() != 0 || offset > base_.size() || length > base_.size() - offset) {
    return make_error(EINVAL, "{} bytes at {}", length, offset);
  }
  return {};
}

std::byte* PatchedDevice::page(std::uint64_t number) {
  auto& page = changed_[number];
  if (!page) {
    page = std::make_unique<Page>();
    std::memcpy(page->data(), base_.data() + number * kPage, kPage);
  }
  return page->data();
}

Status PatchedDevice::read(std::uint64_t offset, std::span<std::byte> buffer) {
  SBENCH_TRY(check(offset, buffer.size()));
  while (!buffer.empty()) {
    const std::uint64_t at = offset % kPage;
    const std::uint64_t length = std::min<std::uint64_t>(kPage - at, buffer.size());
    const auto found = changed_.find(offset / kPage);
    const std::byte* from = found == changed_.end() ? base_.data() + offset : found->second->data() + at;
    std::memcpy(buffer.data(), from, length);
    buffer = buffer.subspan(length);
    offset += length;
  }
  return {};
}

Status PatchedDevice::write(std::uint64_t offset, std::span<const std::byte> buffer) {
  SBENCH_TRY(check(offset, buffer.size()));
  while (!buffer.empty()) {
    const std::uint64_t at = offset % kPage;
    const std::uint64_t length = std::min<std::uint64_t>(kPage - at, buffer.size());
    std::memcpy(page(offset / kPage) + at, buffer.data(), length);
    buffer = buffer.subspan(length);
    offset += length;
  }
  return {};
}

}  // namespace sbench::fuzz
