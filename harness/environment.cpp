#include "harness/environment.h"

#include <benchmark/benchmark.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/process.h"
#include "drivers/base/user_namespace.h"
#include "harness/guest/guest_init.h"

namespace sbench {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// The value after "name   :" in /proc/cpuinfo or "NAME=" in os-release.
std::string field(const std::string& text, const std::string& name, char separator) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.rfind(name, 0) == 0) {
      const auto at = line.find(separator);
      if (at != std::string::npos) {
        std::string value = line.substr(at + 1);
        std::erase(value, '"');
        const auto start = value.find_first_not_of(" \t");
        return start == std::string::npos ? "" : value.substr(start);
      }
    }
  }
  return "";
}

/// The type of the file system that `folder` is on, from the mount that holds it.
std::string file_system_of(const fs::path& folder) {
  struct stat status {};
  if (::stat(folder.c_str(), &status) != 0) {
    return "unknown";
  }
  const std::string wanted = fmt::format("{}:{}", ::major(status.st_dev), ::minor(status.st_dev));
  std::istringstream mounts(read_trimmed("/proc/self/mountinfo"));
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string word;
    std::string numbers;
    fields >> word >> word >> numbers;
    while (numbers == wanted && fields >> word && word != "-") {
    }
    if (numbers == wanted && fields >> word) {
      return word;
    }
  }
  return "unknown";  // btrfs shows another number for its subvolumes than for its mounts
}

json device_identity(const Device& device) {
  struct stat status {};
  json facts = {{"kind", device_kind(device)}, {"size_bytes", device.size_bytes()}, {"direct_io", device.direct_io()}};
  if (device.kind() == Device::Kind::folder) {
    facts["file_system"] = file_system_of(device.path());
  } else if (::stat(device.path().c_str(), &status) == 0) {
    const fs::path sys = fmt::format("/sys/dev/block/{}:{}", ::major(status.st_rdev), ::minor(status.st_rdev));
    const fs::path queue = fs::exists(sys / "queue") ? sys / "queue" : sys / ".." / "queue";
    facts["model"] = read_trimmed(sys / "device/model", device.kind() == Device::Kind::loop ? "loop" : "unknown");
    facts["rotational"] = read_trimmed(queue / "rotational");
    facts["logical_block_bytes"] = read_trimmed(queue / "logical_block_size");
    facts["physical_block_bytes"] = read_trimmed(queue / "physical_block_size");
  }
  return facts;
}

json device_state(const Device& device) {
  json state;
  struct stat status {};
  if (device.kind() != Device::Kind::folder && ::stat(device.path().c_str(), &status) == 0) {
    const fs::path sys = fmt::format("/sys/dev/block/{}:{}", ::major(status.st_rdev), ::minor(status.st_rdev));
    const fs::path queue = fs::exists(sys / "queue") ? sys / "queue" : sys / ".." / "queue";
    for (const char* name : {"scheduler", "nr_requests", "read_ahead_kb", "write_cache"}) {
      state[name] = read_trimmed(queue / name, "unknown");
    }
  }
  return state;
}

json module_parameters() {
  json modules = json::object();
  for (const char* module : {"overlay", "loop", "fuse", "btrfs", "xfs", "dm_thin_pool", "zfs"}) {
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(fs::path("/sys/module") / module / "parameters", error)) {
      modules[module][entry.path().filename().string()] = read_trimmed(entry.path());
    }
  }
  return modules;
}

/// Every module the kernel has loaded; of interest in a guest, which loads few.
json loaded_modules() {
  json names = json::array();
  std::istringstream lines(read_trimmed("/proc/modules"));
  for (std::string line; std::getline(lines, line);) {
    names.push_back(line.substr(0, line.find(' ')));
  }
  return names;
}

/// First line a tool prints for its version; it may print it on either stream.
std::string tool_version(const std::vector<std::string>& argv) {
  const auto output = run_program(argv);
  if (!output.ok()) {
    return "missing";
  }
  const std::string& text = output->stdout_text.empty() ? output->stderr_text : output->stdout_text;
  return text.substr(0, text.find('\n'));
}

json tool_versions() {
  return {{"mkfs.ext4", tool_version({"mkfs.ext4", "-V"})},
          {"mkfs.xfs", tool_version({"mkfs.xfs", "-V"})},
          {"mkfs.btrfs", tool_version({"mkfs.btrfs", "--version"})}};
}

std::string source_commit() {
  const auto commit = run_checked({"git", "-C", SBENCH_SOURCE_DIR, "describe", "--always", "--dirty"});
  return commit.ok() ? commit->substr(0, commit->find('\n')) : "unknown";
}

json pressure() {
  json all = json::object();
  for (const char* name : {"cpu", "io", "memory"}) {
    const std::string text = read_trimmed(fs::path("/proc/pressure") / name);
    const auto at = text.find("avg10=");
    if (at != std::string::npos) {
      all[name] = std::strtod(text.c_str() + at + 6, nullptr);
    }
  }
  return all;
}

/// Ticks of all processors, all of them and those the hypervisor gave to others (proc(5): fields 1-8 of "cpu").
json cpu_ticks() {
  std::istringstream line(read_trimmed("/proc/stat"));
  std::string name;
  line >> name;
  std::uint64_t all = 0;
  std::uint64_t ticks = 0;
  std::uint64_t stolen = 0;
  for (int i = 0; i < 8 && line >> ticks; ++i) {
    all += ticks;
    stolen = ticks;  // the eighth
  }
  return {{"all", all}, {"stolen", stolen}};
}

/// How often the processors' heat slowed them down since the boot; nothing where the kernel does not count.
std::optional<std::uint64_t> throttles() {
  std::optional<std::uint64_t> sum;
  for (long cpu = 0; cpu < ::sysconf(_SC_NPROCESSORS_CONF); ++cpu) {
    const std::string count =
        read_trimmed(fmt::format("/sys/devices/system/cpu/cpu{}/thermal_throttle/core_throttle_count", cpu), "");
    if (!count.empty()) {
      sum = sum.value_or(0) + std::strtoull(count.c_str(), nullptr, 10);
    }
  }
  return sum;
}

std::string machine_id() {
  // Salted, so that a published result does not give the host's id away.
  return "m-" + sha256_hex("sbench machine " + read_trimmed("/etc/machine-id", "none")).substr(0, 12);
}

}  // namespace

std::string utc_now() {
  const auto now = std::chrono::system_clock::now();
  const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(now.time_since_epoch()).count();
  const std::time_t whole_s = ms / 1000;
  std::tm parts{};
  ::gmtime_r(&whole_s, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, ms % 1000);
}

const char* device_kind(const Device& device) {
  return device.path().starts_with("/dev/ubd") ? "ubd" : device.kind_name();
}

std::string series_key(const json& identity, const std::string& case_name) {
  return "sha256:" + sha256_hex(identity.dump() + "\n" + case_name);
}

Environment read_environment(const Device& device) {
  utsname kernel{};
  ::uname(&kernel);
  struct sysinfo memory {};
  ::sysinfo(&memory);
  const std::string cpuinfo = read_trimmed("/proc/cpuinfo");
  const std::string os = read_trimmed("/etc/os-release");
  const double ram_bytes = static_cast<double>(memory.totalram) * memory.mem_unit;
  Environment environment;
  environment.identity = {
      {"machine", machine_id()},
      {"cpu_model", field(cpuinfo, "model name", ':')},
      {"cpus", ::sysconf(_SC_NPROCESSORS_ONLN)},
      {"ram_gib", static_cast<int>(std::lround(ram_bytes / (1u << 30)))},
      {"virtualisation", cpuinfo.find("hypervisor") != std::string::npos ? "virtual" : "none seen"},
      {"architecture", kernel.machine},
      {"device", device_identity(device)},
  };
  environment.version = {
      {"kernel_release", kernel.release},
      {"kernel_build", kernel.version},
      {"distribution", field(os, "PRETTY_NAME", '=')},
      {"tools", tool_versions()},
      {"modules", module_parameters()},
      {"microcode", field(cpuinfo, "microcode", ':')},
      {"sbench", SBENCH_VERSION},
      {"sbench_commit", source_commit()},
      {"build_type", SBENCH_BUILD_TYPE},
      {"compiler", SBENCH_COMPILER},
      {"benchmark_library", SBENCH_BENCHMARK_VERSION},
  };
  if (inside_user_mode_linux()) {
    const char* host = std::getenv("SBENCH_HOST_KERNEL");
    environment.version["guest"] = {{"kind", "user-mode Linux"},
                                    {"modules_loaded", loaded_modules()},
                                    {"host_kernel", host != nullptr ? host : "unknown"},
                                    {"flushes", "acknowledged without an fsync on the host"}};
  }
  double load[3] = {0, 0, 0};
  ::getloadavg(load, 3);
  environment.state = {
      {"load_average", {load[0], load[1], load[2]}},
      {"pressure_avg10", pressure()},
      {"governor", read_trimmed("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "none")},
      {"transparent_hugepages", read_trimmed("/sys/kernel/mm/transparent_hugepage/enabled", "unknown")},
      {"dirty_ratio", read_trimmed("/proc/sys/vm/dirty_ratio")},
      {"dirty_background_ratio", read_trimmed("/proc/sys/vm/dirty_background_ratio")},
      {"free_memory_bytes", static_cast<std::uint64_t>(memory.freeram) * memory.mem_unit},
      {"swap_bytes", static_cast<std::uint64_t>(memory.totalswap) * memory.mem_unit},
      {"uptime_s", memory.uptime},
      {"clocksource", read_trimmed("/sys/devices/system/clocksource/clocksource0/current_clocksource", "unknown")},
      {"device", device_state(device)},
      {"uid", ::geteuid()},
      {"user_namespace", in_user_namespace()},
      {"cpu_ticks", cpu_ticks()},
  };
  if (const auto count = throttles()) {
    environment.state["throttles"] = *count;
  }
  return environment;
}

json disturbance_since(const json& state) {
  json found = json::object();
  const json now = cpu_ticks();
  if (state.contains("cpu_ticks")) {
    const auto since = [&](const char* what) {
      return now.at(what).get<double>() - state.at("cpu_ticks").at(what).get<double>();
    };
    if (since("all") > 0 && since("stolen") >= 0) {
      found["steal_percent"] = 100 * since("stolen") / since("all");
    }
  }
  if (const auto count = throttles();
      count && state.contains("throttles") && *count >= state.at("throttles").get<std::uint64_t>()) {
    found["throttles"] = *count - state.at("throttles").get<std::uint64_t>();
  }
  return found;
}

json benchmark_context() {
  utsname kernel{};
  ::uname(&kernel);
  double load[3] = {0, 0, 0};
  ::getloadavg(load, 3);
  const benchmark::CPUInfo& cpu = benchmark::CPUInfo::Get();
  json caches = json::array();
  for (const auto& cache : cpu.caches) {
    caches.push_back(
        {{"type", cache.type}, {"level", cache.level}, {"size", cache.size}, {"num_sharing", cache.num_sharing}});
  }
  return {{"date", utc_now()},
          {"host_name", "anon-" + machine_id().substr(2, 4)},
          {"executable", "sbench"},
          {"num_cpus", cpu.num_cpus},
          {"mhz_per_cpu", static_cast<int>(std::lround(cpu.cycles_per_second / 1e6))},
          {"cpu_scaling_enabled", cpu.scaling == benchmark::CPUInfo::ENABLED},
          {"caches", caches},
          {"load_avg", {load[0], load[1], load[2]}},
          {"library_build_type", "release"},
          {"library_version", SBENCH_BENCHMARK_VERSION},
          {"json_schema_version", 1},
          {"sbench_schema", "1.0"}};
}

}  // namespace sbench
