// uml.h: user-mode Linux as a guest: a kernel that runs as an ordinary process.
//
// Needs neither root nor KVM: Debian's package user-mode-linux (x86-64). One CPU.
// System calls cost a hundred times the host's, so times mean little; bytes,
// space and counts are the host's within 1 to 2 %. docs/uml.md says more.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "drivers/driver.h"
#include "harness/guest/guest_job.h"

namespace sbench {

/// Whether user-mode Linux can run here: the program, its modules, room for its memory.
[[nodiscard]] Availability probe_uml();

/// "6.1.176": the release of the installed user-mode kernel.
[[nodiscard]] std::string uml_release();

/// ~/.cache/sbench/uml/RELEASE: modules built on this machine for its user-mode kernel (uml_zfs), with a
/// file modules.order that names them, one a line; and userland/, programs that go with them.
[[nodiscard]] std::filesystem::path uml_cache();
/// Whether OpenZFS's modules and programs are there.
[[nodiscard]] bool uml_has_zfs();
/// Whether ublk's module is there (uml_ublk).
[[nodiscard]] bool uml_has_ublk();

/// The kernel objects a job needs, in loading order: device mapper, overlayfs, FUSE, loop; then what the
/// cache holds, whose programs come first in the job's PATH.
void add_uml_modules(GuestJob& job);

/// Where what the job prints goes, as it comes.
struct GuestOutput {
  std::function<void(std::string_view)> out;
  std::function<void(std::string_view)> err;
};

/// Boots the kernel, runs the job, relays its output and SIGINT and SIGTERM (a second one
/// kills), and returns its exit code. Whatever happens to this process, SIGKILL
/// included, no process of the guest and no file stay. ETIME past a limit; EIO
/// quoting the console when the guest went down without a result. Call it while
/// this process has one thread.
[[nodiscard]] Result<int> run_in_uml(const GuestJob& job, const GuestOutput& output);

}  // namespace sbench
