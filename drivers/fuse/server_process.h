// server_process.h: a FUSE mount whose file system lives in a process of its own.
//
// The server is forked, closes what it inherited, makes its file system, mounts
// it and says so, or says why not. It ends when the mount goes; when this process
// dies, it takes the mount down and ends too, unless it was left. What it costs is
// accounted (base/helper.h). A server that dies makes its users' calls fail with
// ENOTCONN; one that hangs is cut off by the watchdog (watchdog.h), so nothing hangs.
//
// Threads: one at a time for one ServerProcess.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/helper.h"
#include "drivers/base/privileges.h"
#include "drivers/fuse/session.h"
#include "drivers/fuse/watchdog.h"

namespace sbench::fuse {

/// What a server of trees keeps: it makes files for any owner, and overlayfs' attributes (trusted.*) need SYS_ADMIN.
inline constexpr CapabilitySet kTreeServerCapabilities = kFileCapabilities | CapabilitySet{CAP_SYS_ADMIN};
/// What a server of a pool keeps: it only reads and writes the device that it has open.
inline constexpr CapabilitySet kPoolServerCapabilities{};

struct ServerOptions {
  SessionOptions session;
  std::vector<int> keep_fds;    ///< descriptors that stay open in the server
  /// The server gives up the parent's mounts once it serves: none is held by it, and its end waits for none. Needed
  /// where file systems are mounted from its own files; what it needs by path is to be opened by MakeFileSystem.
  bool gives_up_mounts = false;
  /// When the parent dies, how long the server may still take to end by itself, which closes its file system in good
  /// order: for one that keeps acknowledged changes in memory. 0: it ends at once.
  int linger_ms = 0;
  /// What the server keeps of its capabilities once it serves. Threads of its file system that were started before it
  /// was mounted, and the one that unmounts when the parent dies, keep those that mounting takes, too.
  CapabilitySet capabilities = kTreeServerCapabilities;
  int stall_limit_ms = 120'000;  ///< without any answer while requests wait, the connection is aborted
};

class ServerProcess {
 public:
  /// Runs in the server, single-threaded. What it needs is captured by value; descriptors listed in keep_fds.
  using MakeFileSystem = std::function<Result<std::unique_ptr<FileSystem>>()>;

  /// Returns when the tree is visible at `target`; on error nothing stays. SessionOptions::name names the helper.
  [[nodiscard]] static Result<std::unique_ptr<ServerProcess>> start(const std::filesystem::path& target,
                                                                    const ServerOptions& options,
                                                                    const MakeFileSystem& make);
  /// Runs a program that serves `target` in the foreground until it is unmounted (fuse-overlayfs -f). Returns
  /// when the mount is there; an error quotes the program's last line. SessionOptions other than name are not used.
  [[nodiscard]] static Result<std::unique_ptr<ServerProcess>> start_program(const std::filesystem::path& target,
                                                                            const ServerOptions& options,
                                                                            const std::vector<std::string>& command);
  /// The server of the mount at `target` that an earlier process left, as `record` (leave()) tells.
  [[nodiscard]] static Result<std::unique_ptr<ServerProcess>> adopt(const std::filesystem::path& target,
                                                                    const std::filesystem::path& record);
  /// stop(), except for one that was left or adopted.
  ~ServerProcess();

  [[nodiscard]] pid_t pid() const { return helper_.pid(); }
  [[nodiscard]] bool alive() const { return helper_.alive(); }
  [[nodiscard]] const std::filesystem::path& target() const { return target_; }
  /// Unmounts and waits for the end of the server, which first makes its file system tidy; a server
  /// that hangs is cut off. EBUSY while the tree is in use: then nothing happened. EIO, with how it
  /// died, for a server that had died before; the mount is gone then too.
  [[nodiscard]] Status stop();
  /// The server and its mount outlive this process; `record` is written for adopt().
  [[nodiscard]] Status leave(const std::filesystem::path& record);

 private:
  ServerProcess(std::filesystem::path target, Helper helper) : target_(std::move(target)), helper_(std::move(helper)) {}

  void watch(const ServerOptions& options, std::function<std::uint64_t()> progress);

  std::filesystem::path target_;
  Helper helper_;
  Fd output_;   ///< what a program said, for the sentence about its end; of start_program() only
  Fd control_;  ///< a byte on it: the parent's death no longer matters
  std::unique_ptr<Watch> watch_;
  bool stays_ = false;
  bool stopped_ = false;
};

/// Takes the mount at `target` down and ends `server`, for any program that serves one: unmount (tried
/// for a moment while busy), wait `end_limit_ms`, abort the connection, kill. EBUSY when it stays in use.
[[nodiscard]] Status take_down(const std::filesystem::path& target, const Helper& server, int end_limit_ms = 30'000);

}  // namespace sbench::fuse
