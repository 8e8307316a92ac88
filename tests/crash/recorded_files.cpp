#include "tests/crash/recorded_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

namespace sbench::crash {

namespace {
constexpr NodeId kDeviceNode = 2;
constexpr NodeId kMarksNode = 3;
}  // namespace

Result<Entry> RecordedFiles::lookup(NodeId parent, std::string_view name) {
  if (parent != kRootNode || (name != kDevice && name != kMarks)) {
    return plain_error(ENOENT, "there is no {}", name);
  }
  Entry entry;
  entry.node = name == kDevice ? kDeviceNode : kMarksNode;
  SBENCH_TRY_SET(entry.attributes, attributes(entry.node, 0));
  return entry;
}

Result<struct stat> RecordedFiles::attributes(NodeId node, HandleId) {
  struct stat status {};
  status.st_ino = node;
  status.st_nlink = 1;
  status.st_blksize = 4096;
  status.st_mode = node == kRootNode ? S_IFDIR | 0700 : S_IFREG | 0600;
  status.st_size = node == kDeviceNode ? static_cast<off_t>(size_bytes_) : 0;
  return status;
}

/// The size stays; times are not kept.
Result<struct stat> RecordedFiles::set_attributes(NodeId node, HandleId handle, unsigned mask, const struct stat&) {
  if ((mask & static_cast<unsigned>(AttributeMask::size)) != 0) {
    return refused();
  }
  return attributes(node, handle);
}

Result<OpenFile> RecordedFiles::open(NodeId node, int) {
  OpenFile file;
  file.handle = node;
  file.keep_cache = false;
  file.direct = true;
  return file;
}

Result<std::size_t> RecordedFiles::read(NodeId node, HandleId, std::span<std::byte> into, std::uint64_t offset) {
  if (node != kDeviceNode) {
    return std::size_t{0};
  }
  const ssize_t got = ::pread(image_.get(), into.data(), into.size(), static_cast<off_t>(offset));
  if (got < 0) {
    return errno_error("cannot read the image");
  }
  return static_cast<std::size_t>(got);
}

Result<std::size_t> RecordedFiles::write(NodeId node, HandleId, std::span<const std::byte> from, std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  if (node == kMarksNode) {
    SBENCH_TRY(log_.append(RecordKind::mark, 0, 0, from));
    return from.size();
  }
  if (offset > size_bytes_ || from.size() > size_bytes_ - offset) {
    return plain_error(EINVAL, "a write beyond the device's end");
  }
  SBENCH_TRY(log_.append(RecordKind::write, offset, from.size(), from));
  if (::pwrite(image_.get(), from.data(), from.size(), static_cast<off_t>(offset)) !=
      static_cast<ssize_t>(from.size())) {
    return plain_error(EIO, "cannot write the image");
  }
  return from.size();
}

Status RecordedFiles::sync_file(NodeId node, HandleId, bool) {
  const std::lock_guard lock(mutex_);
  return node == kDeviceNode ? log_.append(RecordKind::flush, 0, 0, {}) : Status();
}

Status RecordedFiles::allocate(NodeId node, HandleId, int mode, std::uint64_t offset, std::uint64_t length) {
  if (node != kDeviceNode || (mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) {
    return plain_error(EOPNOTSUPP, "a recorded device has all its space");
  }
  if (offset > size_bytes_ || length > size_bytes_ - offset) {
    return plain_error(EINVAL, "zeros beyond the device's end");
  }
  const std::lock_guard lock(mutex_);
  SBENCH_TRY(log_.append(RecordKind::zero, offset, length, {}));
  if (::fallocate(image_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                  static_cast<off_t>(length)) != 0) {
    return errno_error("cannot zero the image");
  }
  return {};
}

Status RecordedFiles::read_directory(NodeId, HandleId, std::uint64_t cookie, const TakeEntry& take) {
  const DirectoryEntry entries[] = {{".", kRootNode, DT_DIR, 1},
                                    {"..", kRootNode, DT_DIR, 2},
                                    {kDevice, kDeviceNode, DT_REG, 3},
                                    {kMarks, kMarksNode, DT_REG, 4}};
  for (std::uint64_t i = cookie; i < std::size(entries) && take(entries[i]); ++i) {
  }
  return {};
}

}  // namespace sbench::crash
