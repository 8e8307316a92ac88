#include "workloads/content/residency.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"

namespace sbench {

Result<std::uint64_t> resident_bytes(const std::filesystem::path& path) {
  SBENCH_TRY_SET(Fd fd, open_file(path, O_RDONLY));
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) {
    return errno_error("cannot inspect {}", path.string());
  }
  if (status.st_size == 0) {
    return std::uint64_t{0};
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  const auto page_size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  void* const mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd.get(), 0);
  if (mapped == MAP_FAILED) {
    return errno_error("cannot map {}", path.string());
  }
  std::vector<unsigned char> pages((size + page_size - 1) / page_size);
  const int outcome = ::mincore(mapped, size, pages.data());
  const int code = errno;
  ::munmap(mapped, size);
  if (outcome != 0) {
    return make_error(code, "cannot ask which pages of {} are cached", path.string());
  }
  const auto resident = std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
  return static_cast<std::uint64_t>(resident) * page_size;
}

}  // namespace sbench
