// patched_device.h: a device in memory over bytes that are never changed: what is written stands beside them, so that
// the next input starts from the same bytes at the cost of those it touched.
#pragma once

#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "drivers/block/block_io.h"

namespace sbench::fuzz {

/// Not thread-safe.
class PatchedDevice final : public BlockIo {
 public:
  explicit PatchedDevice(const std::vector<std::byte>& base) : base_(base) {}

  [[nodiscard]] std::uint64_t size_bytes() const override { return base_.size(); }
  [[nodiscard]] std::uint32_t block_bytes() const override { return 512; }
  [[nodiscard]] Status read(std::uint64_t offset, std::span<std::byte> buffer) override;
  [[nodiscard]] Status write(std::uint64_t offset, std::span<const std::byte> buffer) override;
  [[nodiscard]] Status flush() override { return {}; }
  [[nodiscard]] Status discard(std::uint64_t, std::uint64_t) override { return {}; }

  /// The 4096 bytes of a page, to be changed.
  [[nodiscard]] std::byte* page(std::uint64_t number);

 private:
  static constexpr std::uint64_t kPage = 4096;
  using Page = std::array<std::byte, kPage>;
  [[nodiscard]] Status check(std::uint64_t offset, std::uint64_t length) const;

  const std::vector<std::byte>& base_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Page>> changed_;
};

}  // namespace sbench::fuzz
