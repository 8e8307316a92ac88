#include "drivers/union_fs/origin.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace sbench::union_fs {
namespace {

constexpr std::uint8_t kMagic = 0xfb;
constexpr std::uint8_t kFlags = std::endian::native == std::endian::little ? 0 : 1;
constexpr std::size_t kHeader = 5 + 16;
constexpr int kInode32Generation = 1;  // FILEID_INO32_GEN: inode and generation, 32 bits each

}  // namespace

std::string encode_origin(const Branches& branches, BranchIndex branch, int fd, const char* name) {
  const auto& uuid = branches.file_system_of(branch).uuid;
  if (!uuid) {
    return {};
  }
  alignas(file_handle) char buffer[sizeof(file_handle) + MAX_HANDLE_SZ];
  auto* handle = reinterpret_cast<file_handle*>(buffer);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  if (::name_to_handle_at(fd, name, handle, &mount, *name == '\0' ? AT_EMPTY_PATH : 0) != 0 ||
      handle->handle_type < 0 || handle->handle_type > 0xfe) {
    return {};
  }
  std::string value;
  value.push_back(0);
  value.push_back(static_cast<char>(kMagic));
  value.push_back(static_cast<char>(kHeader + handle->handle_bytes));
  value.push_back(static_cast<char>(kFlags));
  value.push_back(static_cast<char>(handle->handle_type));
  value.append(reinterpret_cast<const char*>(uuid->data()), uuid->size());
  value.append(reinterpret_cast<const char*>(handle->f_handle), handle->handle_bytes);
  return value;
}

std::optional<std::uint64_t> decode_origin(const Branches& branches, const std::string& value) {
  if (value.size() < kHeader || value[0] != 0 || static_cast<std::uint8_t>(value[1]) != kMagic ||
      static_cast<std::uint8_t>(value[2]) != value.size() || static_cast<std::uint8_t>(value[3]) != kFlags) {
    return std::nullopt;
  }
  std::array<std::uint8_t, 16> uuid{};
  std::memcpy(uuid.data(), value.data() + 5, uuid.size());
  const int type = static_cast<std::uint8_t>(value[4]);
  const std::size_t size = value.size() - kHeader;
  for (std::size_t index = 1; index < branches.size(); ++index) {
    const auto branch = static_cast<BranchIndex>(index);
    if (branches.file_system_of(branch).uuid != uuid) {
      continue;
    }
    if (type == kInode32Generation && size >= 4) {
      std::uint32_t inode = 0;
      std::memcpy(&inode, value.data() + kHeader, sizeof inode);
      return branches.shown(branch, inode);
    }
    alignas(file_handle) char buffer[sizeof(file_handle) + 256];
    auto* handle = reinterpret_cast<file_handle*>(buffer);
    handle->handle_bytes = static_cast<unsigned>(size);
    handle->handle_type = type;
    std::memcpy(handle->f_handle, value.data() + kHeader, size);
    const Fd fd(::open_by_handle_at(branches[branch].root->get(), handle, O_PATH | O_CLOEXEC));
    struct stat status {};
    if (!fd.valid() || ::fstat(fd.get(), &status) != 0) {
      return std::nullopt;
    }
    return branches.shown(branch, status.st_ino);
  }
  return std::nullopt;
}

}  // namespace sbench::union_fs
