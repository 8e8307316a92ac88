// step.cpp: a library that sets the wall clock of the processes it is loaded into (LD_PRELOAD) forward or back.
//
// The file that SBENCH_CLOCK names begins with nanoseconds to add, written by the soak at the moment of the step. What asks
// the C library for the time of day gets the sum; what asks the kernel (times of files, waits) and every other clock stay
// right, so the two also disagree, as they do for a moment when a clock is set. The first stepped answer of a process
// appends a byte to the file: that is how the soak knows that the step was seen.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>

namespace {

constexpr std::int64_t kSecond_ns = 1'000'000'000;

/// Read-only and private: what the soak writes shows, and servers, which unmap shared files, keep it.
const volatile std::int64_t* offset_ns = nullptr;
bool told = false;

__attribute__((constructor)) void begin() {
  const char* path = std::getenv("SBENCH_CLOCK");
  const int fd = path != nullptr ? ::open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd >= 0) {
    void* memory = ::mmap(nullptr, sizeof(std::int64_t), PROT_READ, MAP_PRIVATE, fd, 0);
    offset_ns = memory != MAP_FAILED ? static_cast<const volatile std::int64_t*>(memory) : nullptr;
    ::close(fd);
  }
}

std::int64_t step_ns() {
  const std::int64_t step = offset_ns != nullptr ? *offset_ns : 0;
  if (step != 0 && !told) {
    told = true;
    const char* path = std::getenv("SBENCH_CLOCK");
    const int fd = path != nullptr ? ::open(path, O_WRONLY | O_APPEND | O_CLOEXEC) : -1;
    if (fd >= 0) {
      static_cast<void>(!::write(fd, "+", 1));
      ::close(fd);
    }
  }
  return step;
}

using ClockFunction = int (*)(clockid_t, timespec*);

int real_clock(clockid_t clock, timespec* time) {
  static const auto real = reinterpret_cast<ClockFunction>(::dlsym(RTLD_NEXT, "clock_gettime"));
  return real != nullptr ? real(clock, time) : static_cast<int>(::syscall(SYS_clock_gettime, clock, time));
}

timespec stepped_now() {
  timespec now{};
  real_clock(CLOCK_REALTIME, &now);
  const std::int64_t sum_ns = now.tv_sec * kSecond_ns + now.tv_nsec + step_ns();
  return {sum_ns / kSecond_ns, sum_ns % kSecond_ns};
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
  if (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE) {
    return real_clock(clock, time);
  }
  *time = stepped_now();
  return 0;
}

time_t time(time_t* into) noexcept {
  const time_t now = stepped_now().tv_sec;
  if (into != nullptr) {
    *into = now;
  }
  return now;
}

int gettimeofday(timeval* into, void*) noexcept {
  const timespec now = stepped_now();
  *into = {now.tv_sec, now.tv_nsec / 1000};
  return 0;
}

}  // extern "C"
