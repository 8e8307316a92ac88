#include "drivers/layer/memory_file.h"

#include <sys/mman.h>
#include <unistd.h>

#include "drivers/base/file.h"

namespace sbench {

Result<std::unique_ptr<MemoryFile>> MemoryFile::make(const char* name) {
  Fd fd(::memfd_create(name, MFD_CLOEXEC));
  if (!fd.valid()) {
    return errno_error("cannot make a memory file for {}", name);
  }
  return std::unique_ptr<MemoryFile>(new MemoryFile(std::move(fd), name));
}

MemoryFile::~MemoryFile() {
  if (!mapped_.empty()) {
    ::munmap(const_cast<std::byte*>(mapped_.data()), mapped_.size());
  }
}

Status MemoryFile::write(std::span<const std::byte> data) {
  SBENCH_CHECK(mapped_.empty());
  SBENCH_TRY(write_all(fd_.get(), {reinterpret_cast<const char*>(data.data()), data.size()}, name_));
  size_bytes_ += data.size();
  return {};
}

Result<std::span<const std::byte>> MemoryFile::map() {
  if (!mapped_.empty() || size_bytes_ == 0) {
    return mapped_;
  }
  void* const mapped =
      ::mmap(nullptr, static_cast<std::size_t>(size_bytes_), PROT_READ, MAP_SHARED | MAP_POPULATE, fd_.get(), 0);
  if (mapped == MAP_FAILED) {
    return errno_error("cannot map a memory file for {}", name_);
  }
  mapped_ = {static_cast<const std::byte*>(mapped), static_cast<std::size_t>(size_bytes_)};
  return mapped_;
}

}  // namespace sbench
