// shared_memory.h: what a process and those it forks later see together.
#pragma once

#include <sys/mman.h>

#include <memory>
#include <new>

#include "drivers/base/check.h"

namespace sbench {

/// A T in memory that stays shared over fork(); unmapped here with the last reference, and not destroyed: T is plain or
/// atomic values. std::bad_alloc where there is no memory.
template <typename T>
[[nodiscard]] std::shared_ptr<T> make_shared_memory() {
  void* memory = ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  need_memory(memory != MAP_FAILED);
  return {new (memory) T(), [](T* shared) { ::munmap(shared, sizeof(T)); }};
}

}  // namespace sbench
