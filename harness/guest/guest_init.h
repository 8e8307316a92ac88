// guest_init.h: sbench as the first process of a user-mode Linux kernel.
//
// Mounts what programs expect, loads modules, runs the job of the exchange
// directory (guest_job.h), passes signals on to it, and switches the machine off.
// No shell, no insmod, no halt: those may be missing, and halt writes wtmp.
#pragma once

namespace sbench {

/// Whether this process runs inside user-mode Linux.
[[nodiscard]] bool inside_user_mode_linux();

/// Whether this process was started as the guest's init.
[[nodiscard]] bool is_guest_init();

/// Never returns: the machine is off at its end. argv[1] is the exchange directory.
[[noreturn]] void run_guest_init(int argc, char** argv);

}  // namespace sbench
