#include "harness/soak/clock.h"

#include <fcntl.h>
#include <unistd.h>

#include "drivers/base/file.h"

namespace sbench::soak {

namespace fs = std::filesystem;

namespace {
constexpr const char* kLibrary = "libsbench_clock.so";
constexpr std::int64_t kSecond_ns = 1'000'000'000;
}  // namespace

fs::path clock_library() {
  static const fs::path found = [] {
    std::error_code failure;
    const fs::path folder = fs::read_symlink("/proc/self/exe", failure).parent_path();
    for (const fs::path& path : {folder / kLibrary, folder / "../lib/sbench" / kLibrary,
                                 folder / "../lib/x86_64-linux-gnu/sbench" / kLibrary, folder / "../lib64/sbench" / kLibrary}) {
      if (::access(path.c_str(), R_OK) == 0) {
        return path;
      }
    }
    return fs::path();
  }();
  return found;
}

Result<CaseClock> CaseClock::make(const fs::path& file) {
  SBENCH_TRY(write_text_atomic(file, std::string(sizeof(std::int64_t), '\0')));
  return CaseClock(file);
}

std::vector<std::string> CaseClock::environment() const {
  return {"LD_PRELOAD=" + clock_library().string(), "SBENCH_CLOCK=" + file_.string()};
}

Status CaseClock::step(std::int64_t seconds) const {
  SBENCH_TRY_SET(const Fd fd, open_file(file_, O_WRONLY));
  const std::int64_t step_ns = seconds * kSecond_ns;
  return ::pwrite(fd.get(), &step_ns, sizeof step_ns, 0) == sizeof step_ns ? Status()
                                                                            : Status(errno_error("cannot set the clock"));
}

bool CaseClock::seen() const {
  std::error_code failure;
  const auto bytes = fs::file_size(file_, failure);
  return !failure && bytes > sizeof(std::int64_t);
}

}  // namespace sbench::soak
