// tree_data.cpp: a file's attributes, content and extended attributes.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include <algorithm>
#include <limits>

#include "drivers/cow_fs/acl.h"
#include "drivers/cow_fs/tree.h"

namespace sbench::cow_fs {

namespace {

constexpr std::uint64_t kFileBytesMax = std::uint64_t{1} << 60;
constexpr std::size_t kXattrNameMax = 255;
constexpr std::size_t kXattrValueMax = std::size_t{64} * 1024;
constexpr std::size_t kXattrsMax = 1 << 20;
constexpr const char* kCapability = "security.capability";

bool has(unsigned mask, AttributeMask bit) { return (mask & static_cast<unsigned>(bit)) != 0; }

timespec to_timespec(const Time& time) { return {static_cast<time_t>(time.seconds), static_cast<long>(time.nanoseconds)}; }

struct XattrHeader {
  std::uint32_t value_bytes = 0;
  std::uint16_t name_bytes = 0;
  std::uint16_t unused = 0;
};

struct Xattr {
  std::string_view name;
  std::string_view value;
};

/// Takes one from the front; false at the end, and where the bytes make no sense.
bool next_xattr(std::string_view& from, Xattr& xattr) {
  XattrHeader header;
  if (from.size() < sizeof(header)) {
    return false;
  }
  std::memcpy(&header, from.data(), sizeof(header));
  from.remove_prefix(sizeof(header));
  if (header.name_bytes > from.size() || header.value_bytes > from.size() - header.name_bytes) {
    return false;
  }
  xattr = {from.substr(0, header.name_bytes), from.substr(header.name_bytes, header.value_bytes)};
  from.remove_prefix(header.name_bytes + header.value_bytes);
  return true;
}

void drop_set_id(Attributes& attributes) {
  if (S_ISDIR(attributes.mode)) {
    return;
  }
  attributes.mode &= ~static_cast<std::uint32_t>(S_ISUID);
  if ((attributes.mode & S_IXGRP) != 0) {
    attributes.mode &= ~static_cast<std::uint32_t>(S_ISGID);
  }
}

bool has_xattrs(const Attributes& attributes) {
  return attributes.inline_kind == InlineKind::attributes || attributes.attribute_set != 0;
}

}  // namespace

struct stat Tree::attributes(const Object& object) const {
  const Attributes from = attributes_of(object);
  struct stat status {};
  status.st_ino = object.id();
  status.st_mode = from.mode;
  status.st_nlink = from.links;
  status.st_uid = from.uid;
  status.st_gid = from.gid;
  status.st_rdev = from.device;
  status.st_size = static_cast<off_t>(S_ISDIR(from.mode) ? from.entries + 2 : object.dnode().size);
  status.st_blksize = record_bytes_;
  status.st_blocks = static_cast<blkcnt_t>((object.dnode().used_bytes + kDnodeBytes) / 512);
  status.st_atim = to_timespec(from.accessed);
  status.st_mtim = to_timespec(from.modified);
  status.st_ctim = to_timespec(from.changed);
  return status;
}

Result<std::string> Tree::read_link(std::uint64_t id) {
  SBENCH_TRY_SET(const ObjectRef object, node(id));
  const Attributes from = attributes_of(*object);
  if (!S_ISLNK(from.mode)) {
    return make_error(EINVAL, "object {} is no symbolic link", id);
  }
  if (from.inline_kind == InlineKind::symlink) {
    return std::string(reinterpret_cast<const char*>(from.inline_data.data()), std::min<std::size_t>(from.inline_bytes, kInlineBytes));
  }
  std::string target(std::min<std::uint64_t>(object->dnode().size, 4096), '\0');
  SBENCH_TRY(object->read(0, std::as_writable_bytes(std::span(target))));
  return target;
}

Status Tree::set_attributes(const Operation& operation) {
  SBENCH_TRY_SET(const ObjectRef object, node(operation.node));
  const unsigned mask = operation.flags;
  const bool to_size = has(mask, AttributeMask::size);
  if (to_size) {
    const std::uint32_t mode = attributes_of(*object).mode;
    if (!S_ISREG(mode)) {
      return make_error(S_ISDIR(mode) ? EISDIR : EINVAL, "object {} has no size to set", operation.node);
    }
    if (operation.offset > kFileBytesMax) {
      return make_error(EFBIG, "a file of {} bytes", operation.offset);
    }
    SBENCH_TRY(object->truncate(operation.offset));
  }
  Attributes attributes = attributes_of(*object);
  const bool owner = has(mask, AttributeMask::uid) || has(mask, AttributeMask::gid);
  if (has(mask, AttributeMask::mode)) {
    attributes.mode = (attributes.mode & S_IFMT) | (operation.mode & 07777);
  } else if (owner || has(mask, AttributeMask::drop_privileges)) {
    drop_set_id(attributes);
  }
  attributes.uid = has(mask, AttributeMask::uid) ? operation.uid : attributes.uid;
  attributes.gid = has(mask, AttributeMask::gid) ? operation.gid : attributes.gid;
  if (has(mask, AttributeMask::atime)) {
    attributes.accessed = operation.accessed;
  }
  if (has(mask, AttributeMask::atime_now)) {
    attributes.accessed = operation.now;
  }
  if (has(mask, AttributeMask::mtime)) {
    attributes.modified = operation.modified;
  } else if (has(mask, AttributeMask::mtime_now) || to_size) {
    attributes.modified = operation.now;
  }
  attributes.changed = operation.now;
  set_attributes_of(*object, attributes);
  if (has_xattrs(attributes)) {
    if (has(mask, AttributeMask::mode)) {
      if (const auto acl = xattr(operation.node, kAccessAcl); acl.ok()) {
        if (const auto changed = acl_after_chmod(*acl, operation.mode)) {
          SBENCH_TRY(change_xattr(*object, kAccessAcl, &*changed));
        }
      }
    }
    if ((owner && !S_ISDIR(attributes.mode)) || has(mask, AttributeMask::drop_privileges)) {
      SBENCH_TRY(change_xattr(*object, kCapability, nullptr));
    }
  }
  return {};
}

Status Tree::write(const Operation& operation) {
  SBENCH_TRY_SET(const ObjectRef object, node(operation.node));
  if (operation.offset > kFileBytesMax || operation.data.size() > kFileBytesMax - operation.offset) {
    return make_error(EFBIG, "a write at {}", operation.offset);
  }
  SBENCH_TRY(object->write(operation.offset, std::as_bytes(std::span(operation.data)), record_bytes_));
  Attributes attributes = attributes_of(*object);
  attributes.modified = attributes.changed = operation.now;
  set_attributes_of(*object, attributes);
  return {};
}

Status Tree::allocate(const Operation& operation) {
  SBENCH_TRY_SET(const ObjectRef object, node(operation.node));
  const unsigned mode = operation.flags;
  if (!S_ISREG(attributes_of(*object).mode)) {
    return make_error(ENODEV, "object {} is no regular file", operation.node);
  }
  if (operation.length == 0 || operation.offset > kFileBytesMax || operation.length > kFileBytesMax - operation.offset) {
    return make_error(operation.length == 0 ? EINVAL : EFBIG, "fallocate of {} bytes", operation.length);
  }
  // Space cannot be set aside where every write goes to a new place: as ZFS, only the size changes.
  const bool punch = (mode & FALLOC_FL_PUNCH_HOLE) != 0;
  const bool zero = (mode & FALLOC_FL_ZERO_RANGE) != 0;
  const bool keep_size = (mode & FALLOC_FL_KEEP_SIZE) != 0;
  if ((mode & ~unsigned{FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}) != 0 || (punch && (zero || !keep_size))) {
    return make_error(EOPNOTSUPP, "fallocate with mode {}", mode);
  }
  if (punch || zero) {
    SBENCH_TRY(object->punch(operation.offset, operation.length));
  }
  if (!keep_size && operation.offset + operation.length > object->dnode().size) {
    SBENCH_TRY(object->truncate(operation.offset + operation.length));
  }
  Attributes attributes = attributes_of(*object);
  attributes.modified = attributes.changed = operation.now;
  set_attributes_of(*object, attributes);
  return {};
}

Result<std::string> Tree::load_xattrs(Object& object) {
  const Attributes from = attributes_of(object);
  if (from.inline_kind == InlineKind::attributes) {
    return std::string(reinterpret_cast<const char*>(from.inline_data.data()), std::min<std::size_t>(from.inline_bytes, kInlineBytes));
  }
  if (from.attribute_set == 0) {
    return std::string();
  }
  SBENCH_TRY_SET(const ObjectRef set, objects_.open(from.attribute_set));
  if (set->dnode().type != ObjectType::attribute_set || set->dnode().size > kXattrsMax) {
    return plain_error(EUCLEAN, "{}: object {} holds no attributes of object {}", objects_.label(), set->id(), object.id());
  }
  std::string attributes(set->dnode().size, '\0');
  SBENCH_TRY(set->read(0, std::as_writable_bytes(std::span(attributes))));
  return attributes;
}

Status Tree::save_xattrs(Object& object, std::string_view content) {
  Attributes attributes = attributes_of(object);
  const bool fits = attributes.inline_kind != InlineKind::symlink && content.size() <= kInlineBytes;
  if (attributes.inline_kind == InlineKind::attributes) {
    attributes.inline_kind = InlineKind::none;
    attributes.inline_bytes = 0;
    attributes.inline_data = {};
  }
  if ((fits || content.empty()) && attributes.attribute_set != 0) {
    SBENCH_TRY_SET(const ObjectRef set, objects_.open(attributes.attribute_set));
    SBENCH_TRY(objects_.remove(set));
    attributes.attribute_set = 0;
  }
  if (fits && !content.empty()) {
    std::memcpy(attributes.inline_data.data(), content.data(), content.size());
    attributes.inline_bytes = static_cast<std::uint16_t>(content.size());
    attributes.inline_kind = InlineKind::attributes;
  } else if (!content.empty()) {
    auto set = attributes.attribute_set != 0 ? objects_.open(attributes.attribute_set) : objects_.create(ObjectType::attribute_set);
    SBENCH_TRY(set);
    SBENCH_TRY((*set)->truncate(0));
    SBENCH_TRY((*set)->write(0, std::as_bytes(std::span(content)), kRecordMax));
    attributes.attribute_set = (*set)->id();
  }
  set_attributes_of(object, attributes);
  return {};
}

/// Sets the attribute, or removes it when there is no value; a missing one is fine.
Status Tree::change_xattr(Object& object, std::string_view name, const std::string* value) {
  SBENCH_TRY_SET(const std::string before, load_xattrs(object));
  std::string after;
  const auto add = [&after](std::string_view attribute, std::string_view content) {
    const XattrHeader header{static_cast<std::uint32_t>(content.size()), static_cast<std::uint16_t>(attribute.size()), 0};
    after.append(reinterpret_cast<const char*>(&header), sizeof(header));
    after.append(attribute).append(content);
  };
  Xattr xattr;
  for (std::string_view rest = before; next_xattr(rest, xattr);) {
    if (xattr.name != name) {
      add(xattr.name, xattr.value);
    }
  }
  if (value != nullptr) {
    add(name, *value);
  }
  if (after.size() > kXattrsMax) {
    return make_error(ENOSPC, "extended attributes of {} bytes", after.size());
  }
  return after == before ? Status() : save_xattrs(object, after);
}

Result<std::string> Tree::xattr(std::uint64_t id, std::string_view name) {
  SBENCH_TRY_SET(const ObjectRef object, node(id));
  SBENCH_TRY_SET(const std::string all, load_xattrs(*object));
  Xattr xattr;
  for (std::string_view rest = all; next_xattr(rest, xattr);) {
    if (xattr.name == name) {
      return std::string(xattr.value);
    }
  }
  return make_error(ENODATA, "{}", name);
}

Result<std::string> Tree::xattr_names(std::uint64_t id) {
  SBENCH_TRY_SET(const ObjectRef object, node(id));
  SBENCH_TRY_SET(const std::string all, load_xattrs(*object));
  std::string names;
  Xattr xattr;
  for (std::string_view rest = all; next_xattr(rest, xattr);) {
    names.append(xattr.name).push_back('\0');
  }
  return names;
}

Status Tree::set_xattr(const Operation& operation) {
  SBENCH_TRY_SET(const ObjectRef object, node(operation.node));
  if (operation.name.empty() || operation.name.size() > kXattrNameMax || operation.data.size() > kXattrValueMax) {
    return make_error(operation.name.size() > kXattrNameMax ? ERANGE : operation.name.empty() ? EINVAL : E2BIG, "{}", operation.name);
  }
  const auto old = xattr(operation.node, operation.name);
  if (!old.ok() && old.error().code != ENODATA) {
    return old.error();
  }
  if (old.ok() && (operation.flags & XATTR_CREATE) != 0) {
    return make_error(EEXIST, "{}", operation.name);
  }
  if (!old.ok() && (operation.flags & XATTR_REPLACE) != 0) {
    return old.error();
  }
  std::string value(operation.data);
  bool stored = true;
  Attributes attributes = attributes_of(*object);
  if (operation.name == kAccessAcl) {
    const auto mode = mode_of_acl(value);
    if (!mode) {
      return make_error(EINVAL, "{}", operation.name);
    }
    attributes.mode = (attributes.mode & ~std::uint32_t{0777}) | *mode;
    stored = !is_minimal_acl(value);
  }
  attributes.changed = operation.now;
  set_attributes_of(*object, attributes);
  return change_xattr(*object, operation.name, stored ? &value : nullptr);
}

Status Tree::remove_xattr(const Operation& operation) {
  SBENCH_TRY_SET(const ObjectRef object, node(operation.node));
  SBENCH_TRY(xattr(operation.node, operation.name));
  SBENCH_TRY(change_xattr(*object, operation.name, nullptr));
  Attributes attributes = attributes_of(*object);
  attributes.changed = operation.now;
  set_attributes_of(*object, attributes);
  return {};
}

}  // namespace sbench::cow_fs
