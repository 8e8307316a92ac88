// run_step.h: RUN for real: a command in a container's tree, shut off by bubblewrap.
//
// The command has mount, process, user, IPC, host-name and network namespaces of its own: no
// network, no process but its own, no privilege over this machine. What it writes goes to the
// tree, with the owners it gives: as root, all user ids exist; as another USER, only its own.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "drivers/base/result.h"

namespace sbench {

/// How RUN is taken, set with the Dockerfiles (applications.h).
struct RunSteps {
  bool exec = false;             ///< false: replay of a generated change set
  std::uint64_t limit_s = 600;   ///< a step of exec that takes longer is ended and fails
  std::filesystem::path recordings = {};  ///< exec leaves its change sets there, replay takes them (recordings.h); empty: neither
};

struct RunCommand {
  std::vector<std::string> argv;  ///< as is; a shell line comes as {"/bin/sh", "-c", line}
  std::map<std::string, std::string> environment;
  std::string workdir = "/";
  std::string user;  ///< USER[:GROUP], empty: root
};

/// Why commands cannot be run so here, with what would help; empty when they can. Starts one to find out.
[[nodiscard]] std::string reason_no_exec();

/// Runs `command` in the tree at `root` and waits. An error says what failed and, for an exit code that is not 0,
/// ends with the last lines of the command's output. ETIMEDOUT when it took longer than `limit_s`; ENOEXEC
/// when the tree lacks the program. /proc and /dev are there while it runs and leave no trace.
[[nodiscard]] Status run_in_tree(const std::filesystem::path& root, const RunCommand& command, std::uint64_t limit_s);

}  // namespace sbench
