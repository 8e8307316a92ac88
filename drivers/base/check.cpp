#include "drivers/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace sbench {

void check_failed(const char* condition, const char* file, int line) noexcept {
  std::fprintf(stderr, "sbench: bug: %s:%d: %s\n", file, line, condition);
  std::abort();
}

}  // namespace sbench
