#include "harness/soak/traces.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <sstream>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/soak/processes.h"

namespace sbench::soak {
namespace {

constexpr int kStep_ms = 20;

struct Mounted {
  unsigned minor = 0;
  std::string type;
  std::string source;
};

std::vector<Mounted> mounts_of(const std::filesystem::path& process) {
  std::vector<Mounted> found;
  const auto text = read_text(process / "mountinfo");
  std::istringstream lines(text.ok() ? *text : "");
  for (std::string line; std::getline(lines, line);) {
    const auto colon = line.find(':');
    const auto separator = line.find(" - ");
    if (colon == std::string::npos || separator == std::string::npos) {
      continue;
    }
    Mounted mounted;
    std::istringstream(line.substr(colon + 1)) >> mounted.minor;
    std::istringstream(line.substr(separator + 3)) >> mounted.type >> mounted.source;
    found.push_back(std::move(mounted));
  }
  return found;
}

/// Loop devices and connections that are mounted anywhere: numbers are given anew at once, so one that a case had may
/// be another program's by now.
struct InUse {
  std::set<std::string> sources;
  std::set<unsigned> connections;
};
InUse mounted_anywhere() {
  InUse found;
  std::set<std::filesystem::path> namespaces;
  for (const pid_t pid : all_processes()) {
    const std::filesystem::path process = fmt::format("/proc/{}", pid);
    if (!namespaces.insert(namespace_of(std::to_string(pid), "mnt")).second) {
      continue;
    }
    for (const auto& mounted : mounts_of(process)) {
      found.sources.insert(mounted.source);
      if (mounted.type.starts_with("fuse")) {
        found.connections.insert(mounted.minor);
      }
    }
  }
  return found;
}

std::string backing_of(const std::string& loop) {
  return read_trimmed(std::filesystem::path("/sys/block") / loop / "loop/backing_file");
}

/// Counts attachments over all disks (Linux 5.15; before, empty): tells a loop device from a later one of its number.
std::string attachment_of(const std::string& loop) {
  return read_trimmed(std::filesystem::path("/sys/block") / loop / "diskseq");
}

}  // namespace

void Traces::look_at(pid_t pid) {
  const auto own_mounts = mounts_of("/proc/self");
  const auto own = [&](const Mounted& mounted) {
    return std::any_of(own_mounts.begin(), own_mounts.end(), [&](const Mounted& each) {
      return each.minor == mounted.minor && each.source == mounted.source;
    });
  };
  auto processes = descendants(pid, own_);
  processes.push_back(pid);
  for (const pid_t each : processes) {
    for (const auto& mounted : mounts_of(fmt::format("/proc/{}", each))) {
      if (own(mounted)) {
        continue;
      }
      if (mounted.type.starts_with("fuse")) {
        connections_.insert(mounted.minor);
      }
      const std::string name = std::filesystem::path(mounted.source).filename().string();
      if (name.starts_with("loop") && backing_of(name).starts_with("/run/sbench/")) {
        loops_[name] = attachment_of(name);  // a thin device of the case; those on images are found by their folder
      }
    }
  }
}

std::vector<std::string> Traces::left_now() const {
  std::vector<std::string> found;
  reap(own_);
  for (const pid_t pid : descendants(::getpid(), own_)) {
    found.push_back("process " + describe_process(pid));
  }
  std::error_code gone;
  for (const auto& device : std::filesystem::directory_iterator("/sys/block", gone)) {
    const std::string name = device.path().filename().string();
    if (name.starts_with("loop") && backing_of(name).starts_with(folder_.string() + "/images")) {
      found.push_back("loop device " + name);
    }
  }
  const auto& images = folder_ / "images";
  if (std::filesystem::exists(images, gone) && !std::filesystem::is_empty(images, gone)) {
    found.push_back("files in " + images.string());
  }
  const auto mounts = read_text("/proc/self/mountinfo");
  if (mounts.ok() && (mounts->find(" /run/sbench/roots/") != std::string::npos ||
                      mounts->find(" " + images.string()) != std::string::npos)) {
    found.push_back("a mount outside the case");
  }
  const auto attached = [](const auto& loop) {
    return !backing_of(loop.first).empty() && attachment_of(loop.first) == loop.second;
  };
  bool suspects = std::any_of(loops_.begin(), loops_.end(), attached);
  for (const unsigned number : connections_) {
    suspects = suspects || std::filesystem::exists(fmt::format("/sys/fs/fuse/connections/{}", number), gone);
  }
  if (suspects) {
    const InUse in_use = mounted_anywhere();
    for (const auto& loop : loops_) {
      if (attached(loop) && !in_use.sources.contains("/dev/" + loop.first)) {
        found.push_back("loop device " + loop.first + " on " + backing_of(loop.first));
      }
    }
    for (const unsigned number : connections_) {
      if (std::filesystem::exists(fmt::format("/sys/fs/fuse/connections/{}", number), gone) &&
          !in_use.connections.contains(number)) {
        found.push_back(fmt::format("FUSE connection {}", number));
      }
    }
  }
  return found;
}

std::vector<std::string> Traces::left(int patience_ms) const {
  auto found = left_now();
  for (int waited_ms = 0; !found.empty() && waited_ms < patience_ms; waited_ms += kStep_ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kStep_ms));
    found = left_now();
  }
  return found;
}

void Traces::end_all() {
  const auto processes = descendants(::getpid(), own_);
  for (const pid_t pid : processes) {
    look_at(pid);
  }
  for (const unsigned number : connections_of(processes)) {  // first: a client of a dead server cannot be killed
    const auto abort = open_file(fmt::format("/sys/fs/fuse/connections/{}/abort", number), O_WRONLY);
    if (abort.ok()) {
      static_cast<void>(write_all(abort->get(), "1", "abort"));
    }
  }
  for (const pid_t pid : processes) {
    ::kill(pid, SIGKILL);
  }
}

std::set<unsigned> Traces::connections_of(const std::vector<pid_t>& processes) const {
  std::set<unsigned> found;
  for (const pid_t pid : processes) {
    for (const auto& mounted : mounts_of(fmt::format("/proc/{}", pid))) {
      if (mounted.type.starts_with("fuse") && connections_.contains(mounted.minor)) {
        found.insert(mounted.minor);
      }
    }
  }
  return found;
}

}  // namespace sbench::soak
