#include "workloads/content/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "workloads/case.h"

namespace sbench {
namespace {

constexpr std::uint64_t kPiece = 256 * kKiB;
constexpr std::uint64_t kCompareAllMax = 16 * kMiB;
constexpr std::uint64_t kSampleRanges = 64;
constexpr std::uint64_t kSampleBytes = 64 * kKiB;

std::span<std::byte> piece_buffer() {
  thread_local std::vector<std::byte> buffer(kPiece);
  return buffer;
}

/// Reads exactly [offset, offset + buffer.size()).
Status read_exact(int fd, std::uint64_t offset, std::span<std::byte> buffer, const std::filesystem::path& shown) {
  while (!buffer.empty()) {
    const ssize_t count = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return errno_error("cannot read {}", shown.string());
    }
    SBENCH_TRY(verify(count > 0, fmt::format("{} ends early at {}", shown.string(), offset)));
    buffer = buffer.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

struct Expected {
  const Content& base;
  const std::optional<Patch>& patch;

  void fill(std::uint64_t offset, std::span<std::byte> out) const {
    base.fill(offset, out);
    if (!patch) {
      return;
    }
    const std::uint64_t begin = std::max(offset, patch->offset);
    const std::uint64_t end = std::min(offset + out.size(), patch->offset + patch->size_bytes);
    if (begin < end) {
      patch->content.fill(begin, out.subspan(begin - offset, end - begin));
    }
  }
};

Status verify_range(int fd, const Expected& expected, std::uint64_t offset, std::uint64_t end,
                    const std::filesystem::path& shown) {
  thread_local std::vector<std::byte> wanted(kPiece);
  while (offset < end) {
    const std::uint64_t count = std::min(kPiece, end - offset);
    const auto found = piece_buffer().first(count);
    SBENCH_TRY(read_exact(fd, offset, found, shown));
    expected.fill(offset, std::span(wanted).first(count));
    SBENCH_TRY(verify(std::equal(found.begin(), found.end(), wanted.begin()),
                      fmt::format("{} has wrong bytes in [{}, {})", shown.string(), offset, offset + count)));
    offset += count;
  }
  return {};
}

}  // namespace

Status write_bytes(int fd, std::span<const std::byte> data, std::uint64_t offset, const std::filesystem::path& shown) {
  while (!data.empty()) {
    const ssize_t count = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (count < 0) {
      if (errno == EINTR) {
        continue;
      }
      return errno_error("cannot write {}", shown.string());
    }
    data = data.subspan(static_cast<std::size_t>(count));
    offset += static_cast<std::uint64_t>(count);
  }
  return {};
}

Status write_range(int fd, const Content& content, std::uint64_t offset, std::uint64_t size_bytes,
                   const std::filesystem::path& shown) {
  const std::uint64_t end = offset + size_bytes;
  while (offset < end) {
    const auto piece = piece_buffer().first(std::min(kPiece, end - offset));
    content.fill(offset, piece);
    SBENCH_TRY(write_bytes(fd, piece, offset, shown));
    offset += piece.size();
  }
  return {};
}

Status make_file(const std::filesystem::path& path, const Content& content, std::uint64_t size_bytes, unsigned mode) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode));
  return write_range(fd.get(), content, 0, size_bytes, path);
}

Status fsync_fd(int fd, const std::filesystem::path& shown) {
  return ::fsync(fd) == 0 ? Status() : Status(errno_error("cannot sync {}", shown.string()));
}

Status fsync_path(const std::filesystem::path& path) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDONLY));
  return fsync_fd(fd.get(), path);
}

Result<std::uint64_t> read_through(const std::filesystem::path& path) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDONLY));
  const auto buffer = piece_buffer();
  std::uint64_t total = 0;
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count == 0) {
      return total;
    }
    if (count < 0 && errno != EINTR) {
      return errno_error("cannot read {}", path.string());
    }
    total += count > 0 ? static_cast<std::uint64_t>(count) : 0;
  }
}

Status verify_file(const std::filesystem::path& path, const Content& base, std::uint64_t size_bytes,
                   const std::optional<Patch>& patch) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDONLY | O_NOFOLLOW));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  const auto found_bytes = static_cast<std::uint64_t>(status.st_size);
  SBENCH_TRY(verify(found_bytes == size_bytes,
                    fmt::format("{} has {} bytes, not {}", path.string(), found_bytes, size_bytes)));
  const Expected expected{base, patch};
  if (size_bytes <= kCompareAllMax) {
    return verify_range(fd.get(), expected, 0, size_bytes, path);
  }
  const auto check = [&](std::uint64_t begin, std::uint64_t end) {
    return verify_range(fd.get(), expected, begin, std::min(end, size_bytes), path);
  };
  SBENCH_TRY(check(size_bytes - kSampleBytes, size_bytes));
  for (std::uint64_t i = 0; i < kSampleRanges; ++i) {
    const std::uint64_t begin = size_bytes / kSampleRanges * i;
    SBENCH_TRY(check(begin, begin + kSampleBytes));
  }
  if (patch) {
    const std::uint64_t before = patch->offset - std::min(patch->offset, kSampleBytes);
    SBENCH_TRY(check(before, patch->offset + patch->size_bytes + kSampleBytes));
  }
  return {};
}

Status verify_bytes(const std::filesystem::path& path, std::span<const std::byte> content) {
  static thread_local std::vector<std::byte> buffer(kMiB);
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY));
  std::size_t at = 0;
  for (;;) {
    const ssize_t count = ::read(fd.get(), buffer.data(), buffer.size());
    if (count < 0) {
      return errno_error("cannot read {}", path.string());
    }
    if (count == 0) {
      return verify(at == content.size(), fmt::format("{} is {} bytes long, not {}", path.string(), at, content.size()));
    }
    const auto size = static_cast<std::size_t>(count);
    SBENCH_TRY(verify(at + size <= content.size() && std::memcmp(buffer.data(), content.data() + at, size) == 0,
                      fmt::format("{} holds other bytes at or after {}", path.string(), at)));
    at += size;
  }
}

}  // namespace sbench
