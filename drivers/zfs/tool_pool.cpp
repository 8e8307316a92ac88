#include "drivers/zfs/tool_pool.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <sstream>

#include "drivers/backing/mount_point.h"
#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"
#include "drivers/base/helper.h"
#include "drivers/base/process.h"
#include "drivers/base/units.h"
#include "drivers/zfs/partition.h"

namespace sbench::zfs {

namespace {

namespace fs = std::filesystem;

constexpr const char* kNameOnDevice = "sbench";
constexpr std::uint64_t kPoolBytesMin = 128 * kMiB;
constexpr int kBusyPatience_ms = 3000;
constexpr int kBusyStep_ms = 20;

std::atomic<std::int64_t> tool_begun_ms{0};

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// What the programs say only in words.
int code_in(const std::string& words) {
  static const std::pair<const char*, int> kMeanings[] = {
      {"does not exist", ENOENT}, {"no such pool", ENOENT},     {"could not find any", ENOENT}, {"already exists", EEXIST},
      {"is busy", EBUSY},         {"currently mounted", EBUSY}, {"out of space", ENOSPC},       {"no space", ENOSPC},
      {"less than the minimum", ENOSPC}, {"too small", ENOSPC}};
  for (const auto& [text, code] : kMeanings) {
    if (words.find(text) != std::string::npos) {
      return code;
    }
  }
  return EIO;
}

Status run(const std::vector<std::string>& argv) {
  SBENCH_TRY_SET([[maybe_unused]] const auto output, run_tool(argv));
  return {};
}

/// A file system just unmounted may be busy for a moment longer.
Status run_while_busy(const std::vector<std::string>& argv) {
  return while_busy(kBusyPatience_ms, kBusyStep_ms, [&] { return run(argv); });
}

Result<std::string> pool_name(const Device& device) {
  struct stat status {};
  if (::stat(device.path().c_str(), &status) != 0) {
    return errno_error("cannot inspect {}", device.path());
  }
  return fmt::format("{}{}.{}-{}.{}", kPoolPrefix, ::major(status.st_rdev), ::minor(status.st_rdev), ::getpid(),
                     start_ticks_of(::getpid()));
}

/// Whether the process in a pool's name still runs; names that are not of ours are nobody's business.
bool maker_runs(const std::string& name) {
  const auto dash = name.rfind('-');
  const auto dot = name.find('.', dash);
  if (dash < std::string_view(kPoolPrefix).size() || dot == std::string::npos) {
    return true;
  }
  pid_t pid = 0;
  std::uint64_t start = 0;
  const auto pid_end = std::from_chars(name.data() + dash + 1, name.data() + dot, pid);
  const auto start_end = std::from_chars(name.data() + dot + 1, name.data() + name.size(), start);
  const bool whole = pid_end.ptr == name.data() + dot && start_end.ptr == name.data() + name.size();
  return !whole || pid <= 0 || start_ticks_of(pid) == start;
}

bool is_mounted_from(const std::string& pool) {
  const auto text = read_text("/proc/self/mountinfo");
  return !text.ok() || text->find(" " + pool + "/") != std::string::npos;
}

/// "a\tb\n" → {a, b}.
Result<std::vector<std::uint64_t>> numbers_in(const std::string& text, std::size_t expected) {
  std::istringstream words(text);
  std::vector<std::uint64_t> numbers;
  for (std::uint64_t number = 0; words >> number;) {
    numbers.push_back(number);
  }
  if (numbers.size() != expected) {
    return plain_error(EPROTO, "zpool or zfs said '{}', where {} numbers were expected", text, expected);
  }
  return numbers;
}

}  // namespace

std::int64_t tool_runs_since_ms() {
  const std::int64_t begun_ms = tool_begun_ms;
  return begun_ms != 0 ? now_ms() - begun_ms : 0;
}

Result<std::string> run_tool(const std::vector<std::string>& argv) {
  tool_begun_ms = now_ms();
  const auto ran = run_program(argv);
  tool_begun_ms = 0;
  SBENCH_TRY_SET(const auto output, ran);
  if (output.exit_code == 0) {
    return output.stdout_text;
  }
  std::string words = output.stderr_text;
  while (!words.empty() && words.back() == '\n') {
    words.pop_back();
  }
  for (auto& c : words) {
    c = c == '\n' ? ' ' : c;
  }
  return plain_error(code_in(words), "{} {}: {}", argv[0], argv[1],
                     words.empty() ? fmt::format("exit code {}", output.exit_code) : words);
}

Status ToolPool::check_size(const Device& device) {
  if (device.size_bytes() < kPoolBytesMin) {
    return plain_error(ENOSPC, "{} is too small for zfs: it has {}, at least {} are needed", device.path(),
                       human_size(static_cast<double>(device.size_bytes())), format_size(kPoolBytesMin));
  }
  return {};
}

void ToolPool::add_properties(std::vector<std::string>& argv, const Options& options) {
  for (const char* property : {"recordsize", "compression", "atime"}) {
    argv.insert(argv.end(), {"-O", fmt::format("{}={}", property, options.at(property))});
  }
}

Status ToolPool::make_first_datasets(const std::string& name) {
  Status made = run({"zfs", "create", name + "/store"});
  if (made.ok()) {
    made = run({"zfs", "create", name + "/layers"});
  }
  const Status exported = run_while_busy({"zpool", "export", name});
  return made.ok() ? exported : made;
}

Status ToolPool::format(Device& device, const Options& options) {
  SBENCH_TRY(check_size(device));
  device.release_exclusive();
  SBENCH_TRY(write_partition_table(device));
  SBENCH_TRY_SET(const std::string partition, partition_of(device));
  SBENCH_TRY_SET(const std::string name, pool_name(device));
  std::vector<std::string> create = {"zpool", "create", "-f", "-t", name, "-o", "cachefile=none",
                                     "-o", "failmode=continue", "-o", "ashift=" + options.at("ashift"), "-O", "mountpoint=legacy",
                                     "-O", "xattr=sa", "-O", "acltype=posix", "-O", "sync=" + options.at("sync")};
  add_properties(create, options);
  create.insert(create.end(), {kNameOnDevice, partition});
  SBENCH_TRY(run(create));
  Status made = make_first_datasets(name);
  forget_partition(device);
  return made;
}

Result<std::unique_ptr<Datasets>> ToolPool::open(Device& device, const Options& options, const fs::path& store) {
  if (is_mount_point(store)) {
    const std::string source = find_mount(store).value_or(MountedFileSystem{}).source;
    const auto slash = source.find('/');
    if (!source.starts_with(kPoolPrefix) || slash == std::string::npos) {
      return plain_error(EBUSY, "{} is in use: {} is mounted there", store.string(), source);
    }
    return std::unique_ptr<Datasets>(new ToolPool(source.substr(0, slash), device, options, true));
  }
  device.release_exclusive();
  SBENCH_TRY_SET(const std::string partition, partition_of(device));
  SBENCH_TRY_SET(const std::string name, pool_name(device));
  const std::vector<std::string> import = {"zpool", "import", "-f", "-N", "-t", "-o", "cachefile=none",
                                           "-d", partition, kNameOnDevice, name};
  Status imported = run(import);
  if (!imported.ok()) {  // a killed process may have left the pool imported
    SBENCH_TRY_SET(const auto abandoned, export_abandoned_pools());
    imported = abandoned.empty() ? imported : run(import);
  }
  SBENCH_TRY(imported);
  return std::unique_ptr<Datasets>(new ToolPool(name, device, options, false));
}

ToolPool::ToolPool(std::string name, const Device& device, const Options& options, bool stays, std::shared_ptr<void> server)
    : server_(std::move(server)), name_(std::move(name)), device_(device), limit_(options.at("size")), stays_(stays) {}

ToolPool::~ToolPool() {
  if (!stays_) {
    static_cast<void>(run_while_busy({"zpool", "export", name_}));  // a stranger's: `sbench clean` exports it later
    forget_partition(device_);
  }
}

std::string ToolPool::dataset(DatasetId id) const {
  return id == kStoreDataset ? name_ + "/store" : fmt::format("{}/layers/{}", name_, id);
}

std::vector<std::string> ToolPool::making(const char* verb) const {
  std::vector<std::string> argv = {"zfs", verb};
  if (!limit_.empty()) {
    argv.insert(argv.end(), {"-o", "quota=" + limit_});
  }
  return argv;
}

Status ToolPool::create(DatasetId id) {
  auto argv = making("create");
  argv.push_back(dataset(id));
  return run(argv);
}

Status ToolPool::clone(DatasetId id, DatasetId origin) {
  const std::string snapshot = fmt::format("{}@{}", dataset(origin), id);
  SBENCH_TRY(run({"zfs", "snapshot", snapshot}));
  auto argv = making("clone");
  argv.insert(argv.end(), {snapshot, dataset(id)});
  const Status cloned = run(argv);
  const Status deferred = run({"zfs", "destroy", "-d", snapshot});
  return cloned.ok() ? deferred : cloned;
}

Status ToolPool::destroy(DatasetId id) {
  freeing_ = true;
  return run_while_busy({"zfs", "destroy", "-r", dataset(id)});
}

Status ToolPool::mount(DatasetId id, const fs::path& target, bool read_only) {
  if (::mount(dataset(id).c_str(), target.c_str(), "zfs", read_only ? MS_RDONLY : 0, nullptr) != 0) {
    return errno_error("cannot mount {} on {}", dataset(id), target.string());
  }
  return {};
}

Status ToolPool::unmount(DatasetId, const fs::path& target) { return sbench::unmount(target, kBusyPatience_ms); }

Result<std::uint64_t> ToolPool::own_bytes(DatasetId id) {
  SBENCH_TRY_SET(const auto text, run_tool({"zfs", "get", "-Hpo", "value", "used", dataset(id)}));
  SBENCH_TRY_SET(const auto numbers, numbers_in(text, 1));
  return numbers[0];
}

Result<PoolSpace> ToolPool::usage() {
  SBENCH_TRY_SET(const auto text, run_tool({"zpool", "list", "-Hpo", "allocated,size", name_}));
  SBENCH_TRY_SET(const auto numbers, numbers_in(text, 2));
  return PoolSpace{numbers[0], numbers[1]};
}

Status ToolPool::sync() {
  SBENCH_TRY(run({"zpool", "sync", name_}));
  if (freeing_) {
    SBENCH_TRY(run({"zpool", "wait", "-t", "free", name_}));
    freeing_ = false;
  }
  return {};
}

std::vector<std::pair<std::string, std::string>> ToolPool::status() {
  std::vector<std::pair<std::string, std::string>> rows = {{"Zpool", name_}};
  if (const auto health = run_tool({"zpool", "list", "-Ho", "health", name_}); health.ok()) {
    rows.emplace_back("Zpool Health", health->substr(0, health->find('\n')));
  }
  if (const auto version = run_tool({"zpool", "version"}); version.ok()) {
    rows.emplace_back("Version", version->substr(0, version->find('\n')));
  }
  return rows;
}

Result<std::vector<std::string>> export_abandoned_pools() {
  std::vector<std::string> exported;
  if (!may_mount() || ::access("/sys/module/zfs", F_OK) != 0 || find_program("zpool").empty()) {
    return exported;
  }
  SBENCH_TRY_SET(const auto listed, run_tool({"zpool", "list", "-Ho", "name"}));
  std::istringstream names(listed);
  for (std::string name; std::getline(names, name);) {
    if (!name.starts_with(kPoolPrefix) || maker_runs(name) || is_mounted_from(name)) {
      continue;
    }
    const auto gone = run_tool({"zpool", "export", name});
    if (gone.ok()) {
      exported.push_back("zpool " + name);
    } else if (gone.error().code != EBUSY && gone.error().code != ENOENT) {  // mounted in another namespace; gone already
      return gone.error();
    }
  }
  return exported;
}

}  // namespace sbench::zfs
