#include "tests/crash/dm_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "drivers/base/file.h"
#include "drivers/devicemapper/dm_device.h"

namespace sbench::crash {

namespace {

constexpr std::uint64_t kMagic = 0x6a736677736872;
constexpr std::uint64_t kFlush = 1;
constexpr std::uint64_t kFua = 2;
constexpr std::uint64_t kDiscard = 4;
constexpr std::uint64_t kMark = 8;

constexpr const char* kName = "crash-log";  // not one of the drivers' names: they tidy those
constexpr const char* kUuid = "CRASH-LOG";
constexpr char kBlank = '+';  // a message of the device mapper is words
constexpr const char* kLastMark = "dm-log-writes-end";

struct Super {
  std::uint64_t magic;
  std::uint64_t version;
  std::uint64_t entries;
  std::uint32_t sector_bytes;
};
struct EntryHeader {
  std::uint64_t sector;
  std::uint64_t sectors;
  std::uint64_t flags;
  std::uint64_t data_bytes;
};

Status read_at(const Fd& file, std::uint64_t offset, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = ::pread(file.get(), into.data(), into.size(), static_cast<off_t>(offset));
    if (got <= 0) {
      return got < 0 ? errno_error("cannot read the log")
                     : plain_error(EUCLEAN, "the log breaks off at byte {}", offset);
    }
    into = into.subspan(static_cast<std::size_t>(got));
    offset += static_cast<std::uint64_t>(got);
  }
  return {};
}

template <typename T>
Result<T> read_struct(const Fd& file, std::uint64_t offset) {
  T value;
  SBENCH_TRY(read_at(file, offset, std::as_writable_bytes(std::span(&value, 1))));
  return value;
}

/// One entry at `offset`, which moves on to the next.
Status take_entry(const Fd& file, const Super& super, std::uint64_t& offset, WriteLog& log) {
  SBENCH_TRY_SET(const auto entry, read_struct<EntryHeader>(file, offset));
  const std::uint64_t length = entry.sectors * super.sector_bytes;
  const std::uint64_t at = entry.sector * super.sector_bytes;
  if ((entry.flags & kMark) != 0) {
    if (entry.data_bytes > super.sector_bytes - sizeof(EntryHeader)) {
      return plain_error(EUCLEAN, "a mark of {} bytes at byte {} of the log", entry.data_bytes, offset);
    }
    std::string text(entry.data_bytes, '\0');
    SBENCH_TRY(read_at(file, offset + sizeof(EntryHeader), std::as_writable_bytes(std::span(text))));
    std::replace(text.begin(), text.end(), kBlank, ' ');
    offset += super.sector_bytes;
    if (text != kLastMark) {
      log.add(RecordKind::mark, 0, 0, std::as_bytes(std::span(text)));
    }
    return {};
  }
  offset += super.sector_bytes;
  if ((entry.flags & kFlush) != 0) {
    log.add(RecordKind::flush, 0, 0, {});
  }
  if ((entry.flags & kDiscard) != 0) {
    log.add(RecordKind::zero, at, length, {});
  } else if (length > 0) {
    std::vector<std::byte> data(length);
    SBENCH_TRY(read_at(file, offset, data));
    offset += length;
    log.add((entry.flags & kFua) != 0 ? RecordKind::durable_write : RecordKind::write, at, length, data);
  }
  return {};
}

}  // namespace

Result<WriteLog> read_dm_log(const std::filesystem::path& file) {
  SBENCH_TRY_SET(const Fd fd, open_file(file, O_RDONLY));
  SBENCH_TRY_SET(const auto super, read_struct<Super>(fd, 0));
  if (super.magic != kMagic || super.version != 1 || super.sector_bytes < 512 || super.sector_bytes > 65536) {
    return plain_error(EUCLEAN, "{} holds no log of dm-log-writes", file.string());
  }
  WriteLog log;
  std::uint64_t offset = super.sector_bytes;
  for (std::uint64_t i = 0; i < super.entries; ++i) {
    SBENCH_TRY(take_entry(fd, super, offset, log));
  }
  return log;
}

Result<std::unique_ptr<KernelLoggedDevice>> KernelLoggedDevice::make(const std::filesystem::path& data,
                                                                     const std::filesystem::path& log) {
  std::uint64_t size_bytes = 0;
  {
    SBENCH_TRY_SET(const auto plain, Device::open_real(data));
    size_bytes = plain->size_bytes();
  }
  std::unique_ptr<KernelLoggedDevice> made(new KernelLoggedDevice());
  SBENCH_TRY(devicemapper::dm_create(kName, kUuid, {size_bytes, "log-writes", data.string() + " " + log.string()}));
  made->stands_ = true;
  SBENCH_TRY_SET(made->device_, Device::open_real(devicemapper::dm_path(kName)));
  return made;
}

KernelLoggedDevice::~KernelLoggedDevice() { static_cast<void>(finish()); }

Status KernelLoggedDevice::mark(const std::string& text) {
  std::string word = text;
  std::replace(word.begin(), word.end(), ' ', kBlank);
  const std::lock_guard lock(mutex_);
  return devicemapper::dm_message(kName, "mark " + word);
}

Status KernelLoggedDevice::finish() {
  device_.reset();
  if (!stands_) {
    return {};
  }
  stands_ = false;
  return devicemapper::dm_remove(kName, false);
}

}  // namespace sbench::crash
