// guest_disk.h: emptying a disk of a guest by way of the host.
//
// User-mode Linux discards 32 KiB at a request, and so takes a quarter of a million of them, a minute, for
// 8 GiB. The disk is a file of the host, which empties it in one call: the guest asks for that through the
// exchange directory (guest_job.h) and waits until it is done.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "drivers/block/device.h"

namespace sbench {

/// Environment variable of a guest's job: the exchange directory.
inline constexpr const char* kGuestExchange = "SBENCH_GUEST_EXCHANGE";

/// Device::discard_all(), through the host where that is possible. Nobody else may use the device meanwhile.
[[nodiscard]] Status discard_whole(Device& device);

/// The host's side: carries out what the guest asks for, if it does; `disks` as in GuestJob.
void serve_discards(const std::filesystem::path& exchange, const std::vector<std::string>& disks);

}  // namespace sbench
