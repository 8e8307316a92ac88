// support.h: what every test program shares: temporary folders, private mount namespaces, commands run in process.
#pragma once

#include <filesystem>
#include <sstream>
#include <string>
#include <vector>

namespace sbench::testing {

/// A fresh folder on a disk (below /var/tmp), removed with everything in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// True when this process may mount; tests that need it skip aloud otherwise.
[[nodiscard]] bool is_root();

/// Moves the process into a mount namespace of its own, once: what a test
/// mounts goes away with it, also when it dies.
void enter_private_namespace();

/// What one sbench command line did.
struct CommandResult {
  int exit_code = 0;
  std::string out;
  std::string err;
};

/// run_cli in this process.
[[nodiscard]] CommandResult run_command(const std::vector<std::string>& arguments, const std::string& input = {});

/// Lines of `text`.
[[nodiscard]] std::size_t line_count(const std::string& text);

}  // namespace sbench::testing
