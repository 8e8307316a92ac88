#include "drivers/base/privileges.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "drivers/base/file.h"

namespace sbench {
namespace {

/// The names of capabilities(7), by number.
constexpr std::array kNames = {
    "CHOWN",           "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER",         "FSETID",          "KILL",
    "SETGID",          "SETUID",       "SETPCAP",         "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST",
    "NET_ADMIN",       "NET_RAW",      "IPC_LOCK",        "IPC_OWNER",      "SYS_MODULE",      "SYS_RAWIO",
    "SYS_CHROOT",      "SYS_PTRACE",   "SYS_PACCT",       "SYS_ADMIN",      "SYS_BOOT",        "SYS_NICE",
    "SYS_RESOURCE",    "SYS_TIME",     "SYS_TTY_CONFIG",  "MKNOD",          "LEASE",           "AUDIT_WRITE",
    "AUDIT_CONTROL",   "SETFCAP",      "MAC_OVERRIDE",    "MAC_ADMIN",      "SYSLOG",          "WAKE_ALARM",
    "BLOCK_SUSPEND",   "AUDIT_READ",   "PERFMON",         "BPF",            "CHECKPOINT_RESTORE"};

}  // namespace

CapabilitySet CapabilitySet::from_hex(const std::string& text) {
  return of_bits(std::strtoull(text.c_str(), nullptr, 16));
}

CapabilitySet CapabilitySet::own() {
  const std::string status = read_trimmed("/proc/thread-self/status");
  const auto at = status.find("CapEff:");
  return at == std::string::npos ? CapabilitySet() : from_hex(status.substr(at + 7));
}

std::string CapabilitySet::names() const {
  std::string text;
  for (std::size_t number = 0; number < kNames.size(); ++number) {
    if (has(static_cast<int>(number))) {
      text += text.empty() ? "" : " ";
      text += kNames[number];
    }
  }
  return text.empty() ? "none" : text;
}

void keep_only(CapabilitySet kept) {
  for (int number = 0; ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) >= 0; ++number) {
    if (!kept.has(number)) {
      ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0);  // without SETPCAP it fails: then there is little to gain
    }
  }
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  if (::syscall(SYS_capget, &header, data.data()) != 0) {
    return;
  }
  for (std::size_t half = 0; half < data.size(); ++half) {
    const auto mask = static_cast<std::uint32_t>(kept.bits() >> (32 * half));
    data[half].permitted &= mask;
    data[half].effective &= mask;
    data[half].inheritable &= mask;
  }
  ::syscall(SYS_capset, &header, data.data());
}

void refuse_new_privileges() { ::prctl(PR_SET_NO_NEW_PRIVS, 1UL, 0UL, 0UL, 0UL); }

}  // namespace sbench
