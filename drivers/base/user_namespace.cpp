#include "drivers/base/user_namespace.h"

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <optional>
#include <sstream>
#include <vector>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"

namespace sbench {
namespace {

constexpr std::uint64_t kAllIds = 0xffffffff;
constexpr std::uint64_t kImageIds = 65536;  // users and groups of images have 16-bit numbers

struct Range {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

/// The first range of the user in /etc/subuid or /etc/subgid: "name or number:first:count".
std::optional<Range> range_in(const char* file, const std::string& user, uid_t uid) {
  std::istringstream lines(read_trimmed(file));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    std::string owner;
    std::string first;
    std::string count;
    if (std::getline(fields, owner, ':') && std::getline(fields, first, ':') && std::getline(fields, count) &&
        (owner == user || owner == std::to_string(uid))) {
      const Range range{std::strtoull(first.c_str(), nullptr, 10), std::strtoull(count.c_str(), nullptr, 10)};
      if (range.first > 0 && range.count > 0) {
        return range;
      }
    }
  }
  return std::nullopt;
}

std::string name_of(uid_t uid) {
  const passwd* entry = ::getpwuid(uid);  // NOLINT(concurrency-mt-unsafe): one thread, says the contract
  return entry != nullptr ? entry->pw_name : std::string();
}

/// What newuidmap and newgidmap are to be told; empty: there is nothing for them to do.
std::vector<std::vector<std::string>> map_commands(pid_t process, uid_t uid, gid_t gid) {
  const std::string user = name_of(uid);
  const auto users = range_in("/etc/subuid", user, uid);
  const auto groups = range_in("/etc/subgid", user, uid);
  const std::string newuidmap = find_program("newuidmap");
  const std::string newgidmap = find_program("newgidmap");
  if (!users || !groups || newuidmap.empty() || newgidmap.empty()) {
    return {};
  }
  const auto command = [&](const std::string& program, std::uint64_t own, const Range& range) {
    return std::vector<std::string>{program, std::to_string(process), "0", std::to_string(own), "1",
                                    "1",     std::to_string(range.first), std::to_string(range.count)};
  };
  return {command(newuidmap, uid, *users), command(newgidmap, gid, *groups)};
}

/// A child that stays outside until it reads a byte from `line`, maps the ids from there, and exits with 0 if it could.
pid_t fork_mapper(const std::vector<std::vector<std::string>>& commands, int line, int parents_end) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(parents_end);
    char byte = 0;
    bool mapped = ::read(line, &byte, 1) == 1;
    for (const auto& command : commands) {
      mapped = mapped && run_checked(command).ok();
    }
    ::_exit(mapped ? 0 : 1);
  }
  return child;
}

Status write_map(const char* file, const std::string& text) {
  SBENCH_TRY_SET(const Fd fd, open_file(file, O_WRONLY));
  return write_all(fd.get(), text, file);
}

/// The caller alone, as root. Groups cannot be given up then (user_namespaces(7)).
Status map_own_ids(uid_t uid, gid_t gid) {
  SBENCH_TRY(write_map("/proc/self/setgroups", "deny"));
  SBENCH_TRY(write_map("/proc/self/uid_map", fmt::format("0 {} 1", uid)));
  return write_map("/proc/self/gid_map", fmt::format("0 {} 1", gid));
}

/// 0, or the errno with which making a mount namespace is refused in spite of the capability (AppArmor does so).
int try_mount_namespace() {
  const pid_t child = ::fork();
  if (child == 0) {
    ::_exit(::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 ? 0 : errno);
  }
  int status = 0;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

struct MappedIds {
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = 0;
};

std::vector<MappedIds> read_map(const char* file) {
  std::istringstream text(read_trimmed(file));
  std::vector<MappedIds> map;
  for (MappedIds each; text >> each.inside >> each.outside >> each.count;) {
    map.push_back(each);
  }
  return map;
}

bool has_many(const std::vector<MappedIds>& map) {
  std::uint64_t sum = 0;
  for (const auto& each : map) {
    sum += each.count;
  }
  return sum >= kImageIds;
}

/// Also where there is no map: a kernel without user namespaces.
bool is_the_machines(const std::vector<MappedIds>& map) {
  return map.empty() || (map[0].inside == 0 && map[0].outside == 0 && map[0].count == kAllIds);
}

struct Maps {
  std::vector<MappedIds> users = read_map("/proc/self/uid_map");
  bool nested = !is_the_machines(users);
  bool several = has_many(users) && has_many(read_map("/proc/self/gid_map"));
};

/// Read once, since timed work asks; enter_user_namespace() reads them again.
Maps& maps() {
  static Maps read;
  return read;
}

bool is_set(const char* file, const char* value) { return read_trimmed(file) == value; }

}  // namespace

bool in_user_namespace() { return maps().nested; }

bool may_give_files_away() { return maps().several; }

Obstacle user_namespace_obstacle(int code) {
  if (is_set("/proc/sys/user/max_user_namespaces", "0")) {
    return {"this machine allows no user namespaces", "sysctl user.max_user_namespaces=10000 (as root)"};
  }
  if (is_set("/proc/sys/kernel/unprivileged_userns_clone", "0")) {
    return {"ordinary users may make no user namespaces here", "sysctl kernel.unprivileged_userns_clone=1 (as root)"};
  }
  if (is_set("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1")) {
    return {"AppArmor takes the capabilities away that a user namespace gives",
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0 (as root), or a profile for sbench that allows userns"};
  }
  return {fmt::format("a user namespace cannot be made: {}", std::generic_category().message(code)),
          "outside of containers and sandboxes, which often forbid it, run it again"};
}

Status enter_user_namespace() {
  const uid_t uid = ::geteuid();
  const gid_t gid = ::getegid();
  const auto refuse = [](int code) {
    const Obstacle obstacle = user_namespace_obstacle(code);
    return plain_error(code, "{}; {}", obstacle.reason, obstacle.remedy);
  };
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    return errno_error("cannot make a pipe");
  }
  const Fd read_end(ends[0]);
  Fd write_end(ends[1]);
  const auto commands = map_commands(::getpid(), uid, gid);
  const pid_t mapper = commands.empty() ? -1 : fork_mapper(commands, read_end.get(), write_end.get());
  const int code = ::unshare(CLONE_NEWUSER) == 0 ? 0 : errno;
  int mapped = -1;
  if (mapper > 0) {
    const bool told = code == 0 && ::write(write_end.get(), "x", 1) == 1;
    write_end.reset();
    mapped = ::waitpid(mapper, &mapped, 0) == mapper && told ? mapped : -1;
  }
  if (code != 0) {
    return refuse(code);
  }
  if (mapped != 0) {
    if (const Status own = map_own_ids(uid, gid); !own.ok()) {
      return refuse(own.error().code);
    }
  }
  maps() = Maps();
  const int refused = try_mount_namespace();
  return refused == 0 ? Status() : Status(refuse(refused));
}

}  // namespace sbench
