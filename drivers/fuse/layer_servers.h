// layer_servers.h: the servers of one driver's mounted layers, by layer.
//
// What a driver that shows its layers over FUSE needs: start, find again,
// take down, leave. Records of servers that were left lie in one folder.
//
// Threads: one at a time, as for drivers.
#pragma once

#include <map>

#include "drivers/driver.h"
#include "drivers/fuse/server_process.h"

namespace sbench::fuse {

/// Whether this host and user can serve FUSE mounts.
[[nodiscard]] Availability probe_fuse();

class LayerServers {
 public:
  /// `records`: a folder of the store, made when needed.
  explicit LayerServers(std::filesystem::path records) : records_(std::move(records)) {}

  /// Whether `id` is served at `target` already; a server that an earlier process left is adopted.
  /// `adopted`, when it is: it was mounted before this process came.
  [[nodiscard]] bool finds(const LayerId& id, const std::filesystem::path& target, bool& adopted);
  [[nodiscard]] Status show(const LayerId& id, const std::filesystem::path& target, const ServerOptions& options,
                            const ServerProcess::MakeFileSystem& make);
  /// The same with a program: start_program().
  [[nodiscard]] Status show_program(const LayerId& id, const std::filesystem::path& target,
                                    const ServerOptions& options, const std::vector<std::string>& command);
  /// Unmounts and ends the server. EBUSY: in use, nothing happened; any other error: it is gone all the same.
  [[nodiscard]] Status hide(const LayerId& id, const std::filesystem::path& target);
  /// The server outlives this process.
  [[nodiscard]] Status leave(const LayerId& id);
  /// Data that is still in the kernel's cache of the mounts goes to their servers. Dead ones are passed over.
  [[nodiscard]] Status write_back() const;

 private:
  [[nodiscard]] std::filesystem::path record_of(const LayerId& id) const { return records_ / id; }

  std::filesystem::path records_;
  std::map<LayerId, std::unique_ptr<ServerProcess>> servers_;
};

}  // namespace sbench::fuse
