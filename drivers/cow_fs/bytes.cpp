#include "drivers/cow_fs/bytes.h"

#include <array>
#include <bit>
#include <mutex>

namespace sbench::cow_fs {

namespace {

constexpr std::align_val_t kAlignment{4096};
constexpr std::size_t kKeptBytesMin = std::size_t{16} * 1024;  // smaller pieces are not worth it
#if defined(__has_feature)  // clang
constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#elif defined(__SANITIZE_ADDRESS__)
constexpr bool kAddressSanitizer = true;
#else
constexpr bool kAddressSanitizer = false;
#endif
constexpr std::size_t kKeptBytesMax = kAddressSanitizer ? 0 : 32 << 20;  // use after free is to be seen
constexpr std::size_t kClasses = 8;  // 16 KiB to 2 MiB, powers of two

/// Pieces without a user.
struct Kept {
  std::mutex mutex;
  std::array<std::vector<void*>, kClasses> pieces;
  std::size_t bytes = 0;
};

Kept& kept() {
  static auto* const all = new Kept();  // never ended: threads may outlive it
  return *all;
}

/// Only sizes that fill their class are kept.
std::size_t class_of(std::size_t bytes) {
  const bool fits = std::has_single_bit(bytes) && bytes >= kKeptBytesMin && bytes < kKeptBytesMin << kClasses;
  return fits ? static_cast<std::size_t>(std::countr_zero(bytes / kKeptBytesMin)) : kClasses;
}

}  // namespace

void* take_memory(std::size_t bytes) {
  if (const std::size_t c = class_of(bytes); c < kClasses) {
    Kept& all = kept();
    const std::lock_guard held(all.mutex);
    if (!all.pieces[c].empty()) {
      void* const piece = all.pieces[c].back();
      all.pieces[c].pop_back();
      all.bytes -= bytes;
      return piece;
    }
  }
  return ::operator new(bytes, kAlignment);
}

void give_memory_back(void* memory, std::size_t bytes) {
  if (const std::size_t c = class_of(bytes); c < kClasses) {
    Kept& all = kept();
    const std::lock_guard held(all.mutex);
    if (all.bytes + bytes <= kKeptBytesMax) {
      all.pieces[c].push_back(memory);
      all.bytes += bytes;
      return;
    }
  }
  ::operator delete(memory, kAlignment);
}

}  // namespace sbench::cow_fs
