// process.h: running another program (mkfs, zpool, python) so that it dies with us; and which there are.
//
// No shell is involved. The child gets SIGKILL when the calling thread's process
// dies (PR_SET_PDEATHSIG), /dev/null as stdin, and no inherited descriptors.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

struct ProgramOutput {
  int exit_code = 0;        ///< 128 + signal when a signal ended it
  std::string stdout_text;  ///< at most 16 MiB is kept
  std::string stderr_text;
};

/// Runs argv[0] (searched in PATH and /usr/sbin:/sbin) and waits for it.
/// Error only when it could not be started; a non-zero exit is in the output.
/// `take_stderr` gets what the program writes to stderr as it comes; stderr_text stays empty then.
[[nodiscard]] Result<ProgramOutput> run_program(const std::vector<std::string>& argv,
                                                const std::function<void(std::string_view)>& take_stderr = {});

/// run_program, with a non-zero exit turned into an Error that quotes the
/// last line the program wrote to stderr.
[[nodiscard]] Result<std::string> run_checked(const std::vector<std::string>& argv);

/// `words` as exec takes them, with nullptr at the end; they point into `words`.
[[nodiscard]] std::vector<char*> argv_of(const std::vector<std::string>& words);

/// Absolute path of `program` in PATH, /usr/sbin or /sbin; empty when there is none.
[[nodiscard]] std::string find_program(const std::string& program);

/// "mnt:[4026531841]": the namespace of a kind ("mnt", "pid") that a process ("self", "1") is in; "" where that cannot be seen.
[[nodiscard]] std::string namespace_of(const std::string& process, const std::string& kind);

/// Every process that /proc shows.
[[nodiscard]] std::vector<pid_t> all_processes();

}  // namespace sbench
