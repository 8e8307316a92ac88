#include "drivers/base/helper.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <sstream>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"

namespace sbench {

struct Helper::State {
  pid_t pid = 0;
  std::string name;
  Fd pidfd;
  bool is_child = false;
  bool left = false;
  bool reaped = false;
  int status = 0;
  double user_s = 0;  ///< last known, since the registration
  double sys_s = 0;
  double adopted_user_s = 0;  ///< what an adopted one had used before
  double adopted_sys_s = 0;
  std::uint64_t shared_bytes = 0;  ///< resident at the start, but the parent's
  std::uint64_t rss_peak_bytes = 0;

  Status open_pidfd();
  [[nodiscard]] bool ended() const;
  void read_cpu();
  void read_memory(std::uint64_t* rss_bytes);
  void collect();
};

namespace {

struct Registry {
  std::mutex mutex;
  std::vector<std::shared_ptr<Helper::State>> live;
  double ended_user_s = 0;
  double ended_sys_s = 0;
  double reaped_user_s = 0;
  double reaped_sys_s = 0;
  std::uint64_t peak_bytes = 0;
  std::vector<std::string> failures;
};

Registry& registry() {
  static auto& only = *new Registry();  // outlives static helpers
  return only;
}

double seconds(const timeval& time) { return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6; }

/// Fields of /proc/PID/stat behind the program's name, the first (state) being number 3.
std::vector<std::uint64_t> stat_fields(pid_t pid) {
  std::vector<std::uint64_t> fields;
  const auto text = read_text(fmt::format("/proc/{}/stat", pid));
  if (text.ok()) {
    std::istringstream rest(text->substr(std::min(text->size(), text->rfind(')') + 4)));
    for (std::uint64_t value = 0; rest >> value || !rest.eof();) {
      fields.push_back(value);
      rest.clear();
    }
  }
  return fields;
}

std::uint64_t kib_of(const std::string& text, const char* name) {
  const auto at = text.find(name);
  unsigned long long kib = 0;
  if (at != std::string::npos) {
    std::sscanf(text.c_str() + at + std::strlen(name), "%llu", &kib);
  }
  return std::uint64_t{kib} * 1024;
}

/// Takes what those alive have into the peak; called before one of them is struck off.
void note_peak(Registry& all) {
  std::uint64_t sum = 0;
  for (const auto& each : all.live) {
    sum += each->rss_peak_bytes;
  }
  all.peak_bytes = std::max(all.peak_bytes, sum);
}

std::string describe_end(int status) {
  return WIFSIGNALED(status) ? fmt::format("was killed by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)))
                             : fmt::format("ended with exit code {}", WEXITSTATUS(status));
}

}  // namespace

namespace {
void collect_ended(Registry& all) {
  const auto live = all.live;
  for (const auto& each : live) {
    each->collect();
  }
}
}  // namespace

std::uint64_t start_ticks_of(pid_t pid) {
  const auto fields = stat_fields(pid);
  return fields.size() > 18 ? fields[18] : 0;  // field 22; the first here is 4
}

Status Helper::State::open_pidfd() {
  pidfd = Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0U)));
  if (!pidfd.valid()) {
    return errno_error("cannot watch process {}", pid);
  }
  return {};
}

bool Helper::State::ended() const {
  if (reaped) {
    return true;
  }
  pollfd wait{pidfd.get(), POLLIN, 0};
  return ::poll(&wait, 1, 0) > 0;
}

/// The exact sum comes from the process' clock, its split from the ticks in /proc.
void Helper::State::read_cpu() {
  clockid_t clock = 0;
  timespec total{};
  const auto fields = stat_fields(pid);
  if (fields.size() < 12 || ::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &total) != 0) {
    return;
  }
  const double total_s = static_cast<double>(total.tv_sec) + static_cast<double>(total.tv_nsec) * 1e-9;
  const double user_ticks = static_cast<double>(fields[10]);  // fields 14 and 15
  const double sys_ticks = static_cast<double>(fields[11]);
  const double user_part = user_ticks + sys_ticks > 0 ? user_ticks / (user_ticks + sys_ticks) : 0;
  user_s = std::max(user_s, total_s * user_part - adopted_user_s);
  sys_s = std::max(sys_s, total_s * (1 - user_part) - adopted_sys_s);
}

void Helper::State::read_memory(std::uint64_t* rss_bytes) {
  const auto maps = read_text(fmt::format("/proc/{}/smaps_rollup", pid));
  const auto status_text = read_text(fmt::format("/proc/{}/status", pid));
  if (!maps.ok() || !status_text.ok()) {
    return;
  }
  const std::uint64_t own = kib_of(*maps, "Private_Clean:") + kib_of(*maps, "Private_Dirty:");
  const std::uint64_t peak = kib_of(*status_text, "VmHWM:");
  rss_peak_bytes = std::max({rss_peak_bytes, own, peak > shared_bytes ? peak - shared_bytes : 0});
  if (rss_bytes != nullptr) {
    *rss_bytes += own;
  }
}

/// Called with the registry locked: reaps a child that ended and books what it used.
void Helper::State::collect() {
  if (reaped || left || !ended()) {
    return;
  }
  reaped = true;
  Registry& all = registry();
  if (is_child) {
    rusage usage{};
    while (::wait4(pid, &status, 0, &usage) < 0 && errno == EINTR) {
    }
    user_s = std::max(user_s, seconds(usage.ru_utime));
    sys_s = std::max(sys_s, seconds(usage.ru_stime));
    all.reaped_user_s += seconds(usage.ru_utime);
    all.reaped_sys_s += seconds(usage.ru_stime);
    const auto peak = static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
    rss_peak_bytes = std::max(rss_peak_bytes, peak > shared_bytes ? peak - shared_bytes : 0);
    if (status != 0) {
      all.failures.push_back(fmt::format("{} (process {}) {}", name, pid, describe_end(status)));
    }
  }
  all.ended_user_s += user_s;
  all.ended_sys_s += sys_s;
  note_peak(all);
  std::erase_if(all.live, [this](const auto& each) { return each.get() == this; });
}

Result<Helper> Helper::of_child(pid_t pid, std::string name) {
  auto state = std::make_shared<State>();
  state->pid = pid;
  state->name = std::move(name);
  state->is_child = true;
  SBENCH_TRY(state->open_pidfd());
  const auto maps = read_text(fmt::format("/proc/{}/smaps_rollup", pid));
  if (maps.ok()) {
    state->shared_bytes = kib_of(*maps, "Shared_Clean:") + kib_of(*maps, "Shared_Dirty:");
  }
  const std::lock_guard lock(registry().mutex);
  registry().live.push_back(state);
  return Helper(std::move(state));
}

Result<Helper> Helper::adopt(pid_t pid, std::uint64_t start_ticks, std::string name) {
  auto state = std::make_shared<State>();
  state->pid = pid;
  state->name = std::move(name);
  state->left = true;
  SBENCH_TRY(state->open_pidfd());
  if (state->ended() || start_ticks_of(pid) != start_ticks) {
    return make_error(ESRCH, "process {} is not the {} that was left", pid, state->name);
  }
  state->read_cpu();
  state->adopted_user_s = std::exchange(state->user_s, 0);
  state->adopted_sys_s = std::exchange(state->sys_s, 0);
  const std::lock_guard lock(registry().mutex);
  registry().live.push_back(state);
  return Helper(std::move(state));
}

Helper::Helper(Helper&&) noexcept = default;

Helper::~Helper() {
  if (state_ == nullptr) {
    return;
  }
  if (!state_->left && alive()) {
    kill();
  }
  const std::lock_guard lock(registry().mutex);
  if (state_->left) {
    state_->read_cpu();
    registry().ended_user_s += state_->user_s;
    registry().ended_sys_s += state_->sys_s;
    std::erase(registry().live, state_);
  } else {
    state_->collect();
  }
}

pid_t Helper::pid() const { return state_->pid; }

bool Helper::alive() const { return !wait_end(0); }

bool Helper::wait_end(int limit_ms) const {
  if (!state_->reaped) {
    pollfd wait{state_->pidfd.get(), POLLIN, 0};
    int ready = 0;
    do {
      ready = ::poll(&wait, 1, limit_ms);
    } while (ready < 0 && errno == EINTR);
    if (ready <= 0) {
      return false;
    }
  }
  const std::lock_guard lock(registry().mutex);
  state_->collect();
  return true;
}

void Helper::kill() const {
  ::syscall(SYS_pidfd_send_signal, state_->pidfd.get(), SIGKILL, nullptr, 0U);
  constexpr int kDyingPatience_ms = 10'000;
  static_cast<void>(wait_end(kDyingPatience_ms));
}

std::optional<std::string> Helper::failure() const {
  const std::lock_guard lock(registry().mutex);
  state_->collect();
  return state_->reaped && state_->status != 0 ? std::optional(describe_end(state_->status)) : std::nullopt;
}

void Helper::leave() { state_->left = true; }

std::vector<HelperInfo> live_helpers() {
  const std::lock_guard lock(registry().mutex);
  std::vector<HelperInfo> found;
  for (const auto& each : registry().live) {
    if (!each->ended()) {
      found.push_back({each->pid, each->name});
    }
  }
  return found;
}

std::vector<std::string> take_failed_helpers() {
  const std::lock_guard lock(registry().mutex);
  collect_ended(registry());
  return std::exchange(registry().failures, {});
}

HelperCpu helper_cpu() {
  const std::lock_guard lock(registry().mutex);
  Registry& all = registry();
  collect_ended(all);
  HelperCpu cpu{all.ended_user_s, all.ended_sys_s, all.reaped_user_s, all.reaped_sys_s};
  for (const auto& each : all.live) {
    each->read_cpu();
    cpu.user_s += each->user_s;
    cpu.sys_s += each->sys_s;
  }
  return cpu;
}

HelperMemory helper_memory() {
  const std::lock_guard lock(registry().mutex);
  Registry& all = registry();
  collect_ended(all);
  HelperMemory memory;
  for (const auto& each : all.live) {
    each->read_memory(&memory.rss_bytes);
  }
  note_peak(all);
  memory.rss_peak_bytes = all.peak_bytes;
  return memory;
}

void reset_helper_peak() {
  const std::lock_guard lock(registry().mutex);
  registry().peak_bytes = 0;
  for (const auto& each : registry().live) {
    each->rss_peak_bytes = 0;
    const auto reset = open_file(fmt::format("/proc/{}/clear_refs", each->pid), O_WRONLY);
    if (reset.ok()) {
      static_cast<void>(write_all(reset->get(), "5", "clear_refs"));
    }
  }
}

}  // namespace sbench
