#include "tests/support/support.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "drivers/base/file.h"
#include "harness/cli.h"
#include "tests/support/must.h"

namespace sbench::testing {

TemporaryFolder::TemporaryFolder() : path_(test::must(make_unique_directory("/var/tmp/sbench-test-"))) {}

TemporaryFolder::~TemporaryFolder() { static_cast<void>(remove_tree(path_)); }

bool is_root() { return ::geteuid() == 0; }

void enter_private_namespace() {
  static const bool entered = ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  if (!entered) {
    throw std::runtime_error("cannot make a private mount namespace");
  }
}

CommandResult run_command(const std::vector<std::string>& arguments, const std::string& input) {
  std::istringstream in(input);
  std::ostringstream out;
  std::ostringstream err;
  Console console{in, out, err, false, false, 80};
  CommandResult result;
  result.exit_code = run_cli(arguments, console);
  result.out = out.str();
  result.err = err.str();
  return result;
}

std::size_t line_count(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace sbench::testing
