// dm_device.h: one device-mapper request a function, through libdevmapper.
//
// Every device of ours is named "sbench-…" and carries a UUID "SBENCH-…"; nothing
// else is ever changed or removed. Errors carry the errno the kernel gave and
// what libdevmapper had to say. One thread at a time: the library keeps state.
//
// Where udev runs, each change waits for its rules, which make the nodes; where
// none runs (user-mode Linux, most containers), the library makes them itself.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench::devicemapper {

inline constexpr const char* kNamePrefix = "sbench-";
inline constexpr const char* kUuidPrefix = "SBENCH-";
inline constexpr std::uint64_t kSectorBytes = 512;

/// A table of one line: `type` and `arguments` over [0, size_bytes).
struct DmTable {
  std::uint64_t size_bytes = 0;
  std::string type;
  std::string arguments;
};

struct DmDevice {
  std::string uuid;
  int users = 0;           ///< open file descriptors, mounts and other devices on it
  bool goes_when_unused = false;  ///< its removal was asked for while it had users
};

/// Whether the kernel has the device mapper at all.
[[nodiscard]] bool kernel_has_device_mapper();
/// /dev/mapper/NAME.
[[nodiscard]] std::filesystem::path dm_path(const std::string& name);

/// Makes and starts a device. EEXIST when the name is taken; else what the target's constructor said.
[[nodiscard]] Status dm_create(const std::string& name, const std::string& uuid, const DmTable& table);
/// EBUSY while it has users, unless `when_unused`: then the last of them takes it down. ENOENT.
[[nodiscard]] Status dm_remove(const std::string& name, bool when_unused);
/// Takes back a removal that waits for the last user; nothing to take back is fine.
[[nodiscard]] Status dm_cancel_removal(const std::string& name);
/// Flushes and freezes the file system on it, then holds new requests until dm_resume.
[[nodiscard]] Status dm_suspend(const std::string& name);
[[nodiscard]] Status dm_resume(const std::string& name);
[[nodiscard]] Status dm_message(const std::string& name, const std::string& text);
/// The target's status line. The thin-pool target commits its metadata first.
[[nodiscard]] Result<std::string> dm_status(const std::string& name);
/// The arguments of its table's one line; devices stand there as MAJOR:MINOR.
[[nodiscard]] Result<std::string> dm_table(const std::string& name);
/// Nothing when there is no such device.
[[nodiscard]] Result<std::optional<DmDevice>> dm_find(const std::string& name);
/// Names of all devices of ours.
[[nodiscard]] Result<std::vector<std::string>> dm_list();
/// "1.22.0" when the kernel has the target, or can load it; nothing otherwise.
[[nodiscard]] std::optional<std::string> dm_target_version(const std::string& type);

}  // namespace sbench::devicemapper
