// wire.h: what the kernel's FUSE protocol has and libfuse 3.14 and older kernel headers do not.
//
// Source: include/uapi/linux/fuse.h of Linux 6.18 (protocol 7.45). Everything
// older comes from <linux/fuse.h>. Passthrough: 7.40 (Linux 6.9). Prune: 7.45.
#pragma once

#include <linux/fuse.h>
#include <sys/ioctl.h>

#include <cstddef>
#include <cstdint>

namespace sbench::wire {

// INIT flags above bit 31 travel in flags2.
inline constexpr std::uint32_t kFlags2DirectIoAllowMmap = 1U << 4;
inline constexpr std::uint32_t kFlags2Passthrough = 1U << 5;

/// Open reply flag: reads, writes and mmap go to the backing file.
inline constexpr std::uint32_t kOpenPassthrough = 1U << 7;

/// struct fuse_open_out since 7.40: the padding became backing_id.
struct OpenOut {
  std::uint64_t handle = 0;
  std::uint32_t open_flags = 0;
  std::int32_t backing_id = 0;
};
static_assert(sizeof(OpenOut) == sizeof(fuse_open_out));

/// Reply to CREATE.
struct CreateOut {
  fuse_entry_out entry{};
  OpenOut open;
};

/// Offset of max_stack_depth in the INIT reply (7.40): the first word behind flags2.
inline constexpr std::size_t kInitStackDepthOffset = offsetof(fuse_init_out, flags2) + sizeof(std::uint32_t);

struct BackingMap {
  std::int32_t fd = -1;
  std::uint32_t flags = 0;
  std::uint64_t padding = 0;
};
static_assert(sizeof(BackingMap) == 16);

inline constexpr unsigned kIoctlMagic = 229;
inline constexpr unsigned long kIoctlClone = _IOR(kIoctlMagic, 0, std::uint32_t);
inline constexpr unsigned long kIoctlBackingOpen = _IOW(kIoctlMagic, 1, BackingMap);
inline constexpr unsigned long kIoctlBackingClose = _IOW(kIoctlMagic, 2, std::uint32_t);

/// Notification "drop these nodes unless they are in use": header, then `count` node ids.
inline constexpr std::int32_t kNotifyPrune = 9;
inline constexpr std::uint32_t kPruneMinorMin = 45;
struct PruneOut {
  std::uint32_t count = 0;
  std::uint32_t padding = 0;
  std::uint64_t spare = 0;
};

/// Bytes in front of the data of a WRITE request.
inline constexpr std::size_t kWriteHeaderBytes = sizeof(fuse_in_header) + sizeof(fuse_write_in);

}  // namespace sbench::wire
