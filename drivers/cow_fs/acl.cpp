#include "drivers/cow_fs/acl.h"

#include <cstdint>
#include <cstring>
#include <vector>

namespace sbench::cow_fs {

namespace {

constexpr std::uint32_t kAclVersion = 2;
enum Tag : std::uint16_t { user_obj = 1, user = 2, group_obj = 4, group = 8, mask = 16, other = 32 };

struct AclEntry {
  std::uint16_t tag = 0;
  std::uint16_t permissions = 0;
  std::uint32_t id = 0;
};
using Entries = std::vector<AclEntry>;

std::optional<Entries> parse(std::string_view acl) {
  std::uint32_t version = 0;
  if (acl.size() < sizeof(version) || (acl.size() - sizeof(version)) % sizeof(AclEntry) != 0) {
    return std::nullopt;
  }
  std::memcpy(&version, acl.data(), sizeof(version));
  Entries entries((acl.size() - sizeof(version)) / sizeof(AclEntry));
  if (version != kAclVersion || entries.empty()) {
    return std::nullopt;
  }
  std::memcpy(entries.data(), acl.data() + sizeof(version), acl.size() - sizeof(version));
  return entries;
}

std::string pack(const Entries& entries) {
  std::string acl(sizeof(kAclVersion) + entries.size() * sizeof(AclEntry), '\0');
  std::memcpy(acl.data(), &kAclVersion, sizeof(kAclVersion));
  std::memcpy(acl.data() + sizeof(kAclVersion), entries.data(), entries.size() * sizeof(AclEntry));
  return acl;
}

AclEntry* find(Entries& entries, Tag tag) {
  for (auto& entry : entries) {
    if (entry.tag == tag) {
      return &entry;
    }
  }
  return nullptr;
}

AclEntry* class_entry(Entries& entries) {
  AclEntry* const found = find(entries, mask);
  return found != nullptr ? found : find(entries, group_obj);
}

}  // namespace

std::optional<std::string> acl_after_chmod(std::string_view acl, mode_t mode) {
  auto entries = parse(acl);
  if (!entries) {
    return std::nullopt;
  }
  const auto set = [](AclEntry* entry, mode_t permissions) {
    if (entry != nullptr) {
      entry->permissions = static_cast<std::uint16_t>(permissions & 7);
    }
  };
  set(find(*entries, user_obj), mode >> 6);
  set(class_entry(*entries), mode >> 3);
  set(find(*entries, other), mode);
  return pack(*entries);
}

std::optional<mode_t> mode_of_acl(std::string_view acl) {
  auto entries = parse(acl);
  if (!entries) {
    return std::nullopt;
  }
  const auto get = [](const AclEntry* entry) -> mode_t { return entry != nullptr ? entry->permissions & 7U : 0U; };
  return get(find(*entries, user_obj)) << 6 | get(class_entry(*entries)) << 3 | get(find(*entries, other));
}

bool is_minimal_acl(std::string_view acl) {
  const auto entries = parse(acl);
  return entries && entries->size() == 3;
}

std::optional<std::string> inherited_acl(std::string_view default_acl, mode_t& mode) {
  const auto allowed = mode_of_acl(default_acl);
  if (!allowed) {
    return std::nullopt;
  }
  mode = (mode & ~mode_t{0777}) | (mode & *allowed);
  return acl_after_chmod(default_acl, mode);
}

}  // namespace sbench::cow_fs
