// bytes.h: memory that O_DIRECT transfers use as it is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

namespace sbench::cow_fs {

/// Aligned to 4096 bytes. Large pieces given back are kept for the next who asks (up to 32 MiB): the system's allocator
/// would hand them to the kernel and take them back page by page.
[[nodiscard]] void* take_memory(std::size_t bytes);
void give_memory_back(void* memory, std::size_t bytes);

/// Aligned to 4096 bytes; new elements are not initialised.
template <typename T>
struct AlignedAllocator {
  using value_type = T;
  AlignedAllocator() = default;
  template <typename U>
  AlignedAllocator(const AlignedAllocator<U>&) {}  // NOLINT(google-explicit-constructor): as allocators do
  T* allocate(std::size_t count) { return static_cast<T*>(take_memory(count * sizeof(T))); }
  void deallocate(T* memory, std::size_t count) { give_memory_back(memory, count * sizeof(T)); }
  template <typename U>
  void construct(U* place) noexcept {
    ::new (static_cast<void*>(place)) U;
  }
  template <typename U, typename... Args>
  void construct(U* place, Args&&... args) {
    ::new (static_cast<void*>(place)) U(std::forward<Args>(args)...);
  }
  friend bool operator==(const AlignedAllocator&, const AlignedAllocator&) { return true; }
};

using Bytes = std::vector<std::byte, AlignedAllocator<std::byte>>;
using BytesRef = std::shared_ptr<const Bytes>;

[[nodiscard]] inline Bytes zeroed(std::size_t size) {
  Bytes bytes(size);
  std::memset(bytes.data(), 0, size);
  return bytes;
}

/// Copies a structure out of, and into, bytes at `offset`; the caller knows that it fits.
template <typename T>
[[nodiscard]] T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof(T));
  return value;
}
template <typename T>
void store(std::byte* to, const T& value) {
  std::memcpy(to, &value, sizeof(T));
}

}  // namespace sbench::cow_fs
