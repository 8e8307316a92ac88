// traces.h: what a case may leave in the kernel: processes, loop devices, FUSE connections, mounts and files.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <vector>

namespace sbench::soak {

class Traces {
 public:
  /// `folder` holds everything the case makes; `own` are processes of the soak itself.
  Traces(std::filesystem::path folder, std::set<pid_t> own) : folder_(std::move(folder)), own_(std::move(own)) {}

  /// Notes the loop devices and FUSE connections that `pid` and its descendants have now.
  void look_at(pid_t pid);
  /// What is still there, in words; waits up to `patience_ms` for it to go: the kernel takes a namespace apart in the
  /// background, and a server may close its store in good order.
  [[nodiscard]] std::vector<std::string> left(int patience_ms) const;
  /// Ends what is left by force: kills the processes, aborts the connections.
  void end_all();

 private:
  [[nodiscard]] std::set<unsigned> connections_of(const std::vector<pid_t>& processes) const;
  [[nodiscard]] std::vector<std::string> left_now() const;

  std::filesystem::path folder_;
  std::set<pid_t> own_;
  std::map<std::string, std::string> loops_;  ///< "loop7", seen below mounts of the case, and which attachment of it
  std::set<unsigned> connections_;     ///< numbers of FUSE connections
};

}  // namespace sbench::soak
