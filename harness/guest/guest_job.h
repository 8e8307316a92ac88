// guest_job.h: a program to be run inside a guest kernel, and how host and guest talk.
//
// They share one directory, the exchange, on the host: the host writes job.json
// and, to pass a signal on, a file stop-NUMBER; the guest writes stdout, stderr
// and console as it goes, discard-NUMBER to have a disk emptied (guest_disk.h), and `exit` with
// the job's exit code at its end. The guest's root is the host's, read-only; what is listed as writable is mounted once more, and
// paths mean the same on both sides.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/base/units.h"

namespace sbench {

struct GuestJob {
  std::vector<std::string> argv;                      ///< argv[0] absolute
  std::map<std::string, std::string> environment;     ///< added to PATH, HOME and TMPDIR of the guest's own
  std::filesystem::path working_directory = "/";
  std::vector<std::filesystem::path> modules;         ///< kernel objects to load, in this order
  std::vector<std::filesystem::path> visible;         ///< directories seen even below /tmp, /var/tmp or /run
  std::vector<std::filesystem::path> writable;        ///< directories of the host the job may write
  // For the host's side only:
  std::vector<std::string> disks;                     ///< files shown as /dev/ubda, /dev/ubdb…; no blanks or commas
  std::filesystem::path init;                         ///< the sbench program
  std::uint64_t memory_bytes = kGiB;
  std::uint64_t boot_limit_s = 90;                    ///< from start to the job's first instruction
  std::uint64_t time_limit_s = 0;                     ///< of the whole; 0: none
};

/// Writes and reads EXCHANGE/job.json.
[[nodiscard]] Status write_job(const std::filesystem::path& exchange, const GuestJob& job);
[[nodiscard]] Result<GuestJob> read_job(const std::filesystem::path& exchange);

}  // namespace sbench
