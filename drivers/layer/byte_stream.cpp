#include "drivers/layer/byte_stream.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "drivers/base/file.h"

namespace sbench {

Result<std::size_t> MemorySource::read(std::span<std::byte> buffer) {
  const std::size_t count = std::min(buffer.size(), rest_.size());
  if (count > 0) {
    std::memcpy(buffer.data(), rest_.data(), count);
  }
  rest_ = rest_.subspan(count);
  return count;
}

Status MemorySink::write(std::span<const std::byte> data) {
  data_.append(reinterpret_cast<const char*>(data.data()), data.size());
  return {};
}

Result<std::size_t> FdSource::read(std::span<std::byte> buffer) {
  for (;;) {
    const ssize_t count = ::read(fd_, buffer.data(), buffer.size());
    if (count >= 0) {
      return static_cast<std::size_t>(count);
    }
    if (errno != EINTR) {
      return errno_error("cannot read {}", what_);
    }
  }
}

Status FdSink::write(std::span<const std::byte> data) {
  return write_all(fd_, {reinterpret_cast<const char*>(data.data()), data.size()}, what_);
}

}  // namespace sbench
