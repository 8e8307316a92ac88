// tree.cpp: names: making, linking, removing and renaming.
#include "drivers/cow_fs/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <limits>
#include <set>

#include "drivers/base/rng.h"
#include "drivers/cow_fs/acl.h"

namespace sbench::cow_fs {

namespace {

constexpr std::uint32_t kLinksMax = 1u << 30;
constexpr std::size_t kSymlinkMax = 4095;
constexpr unsigned kNoReplace = 1;  // renameat2(2)
constexpr unsigned kExchange = 2;
constexpr unsigned kWhiteout = 4;

std::uint8_t type_of(std::uint32_t mode) { return static_cast<std::uint8_t>(IFTODT(mode)); }

Status check_name(std::string_view name) {
  if (name.size() > kDirectoryNameMax) {
    return plain_error(ENAMETOOLONG, "a name has at most {} bytes", kDirectoryNameMax);
  }
  if (name.empty() || name == "." || name == ".." || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos) {
    return plain_error(EINVAL, "not a name: '{}'", name);
  }
  return {};
}

Error no_entry(std::string_view name) { return make_error(ENOENT, "'{}'", name); }

std::string orphan_name(std::uint64_t id) { return fmt::format("{:x}", id); }

}  // namespace

Time time_now() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return {now.tv_sec, static_cast<std::uint32_t>(now.tv_nsec), 0};
}

Status Tree::make_root(const Time& now) {
  for (const std::uint64_t id : {kRootObject, kOrphansObject}) {
    SBENCH_TRY_SET(const ObjectRef object, objects_.create(ObjectType::node, id));
    Attributes attributes;
    attributes.mode = S_IFDIR | (id == kRootObject ? 0755 : 0700);
    attributes.links = 2;
    attributes.parent = id;
    attributes.salt = id;
    attributes.accessed = attributes.modified = attributes.changed = attributes.born = now;
    set_attributes_of(*object, attributes);
  }
  return {};
}

Result<std::uint64_t> Tree::apply(Operation& operation) {
  Status done;
  switch (operation.kind) {
    case OperationKind::make: return make(operation);
    case OperationKind::link: done = link(operation); break;
    case OperationKind::unlink: done = unlink(operation); break;
    case OperationKind::remove_directory: done = remove_directory(operation); break;
    case OperationKind::rename: done = rename(operation); break;
    case OperationKind::set_attributes: done = set_attributes(operation); break;
    case OperationKind::write: done = write(operation); break;
    case OperationKind::allocate: done = allocate(operation); break;
    case OperationKind::set_xattr: done = set_xattr(operation); break;
    case OperationKind::remove_xattr: done = remove_xattr(operation); break;
  }
  SBENCH_TRY(done);
  return std::uint64_t{0};
}

Result<ObjectRef> Tree::node(std::uint64_t id) {
  SBENCH_TRY_SET(auto object, objects_.open(id));
  if (object->dnode().type != ObjectType::node || id == kOrphansObject) {
    return plain_error(ENOENT, "object {} is no file", id);
  }
  return object;
}

Result<ObjectRef> Tree::directory(std::uint64_t id) {
  SBENCH_TRY_SET(auto object, node(id));
  if (!S_ISDIR(attributes_of(*object).mode)) {
    return make_error(ENOTDIR, "object {}", id);
  }
  return object;
}

Result<ObjectRef> Tree::lookup(std::uint64_t parent, std::string_view name) {
  if (name.size() > kDirectoryNameMax) {
    return make_error(ENAMETOOLONG, "a name of {} bytes", name.size());
  }
  SBENCH_TRY_SET(const ObjectRef in, directory(parent));
  if (name == "." || name == "..") {
    return node(name == "." ? parent : attributes_of(*in).parent);
  }
  SBENCH_TRY_SET(const auto found, find_name(*in, name));
  if (!found) {
    return no_entry(name);
  }
  auto object = node(found->object);
  if (!object.ok() && object.error().code == ENOENT) {
    return plain_error(EUCLEAN, "{}: '{}' in directory {} names object {}, which is none", objects_.label(), name, parent,
                       found->object);
  }
  return object;
}

Status Tree::touch_directory(std::uint64_t id, const Time& now, int links) {
  SBENCH_TRY_SET(const ObjectRef object, directory(id));
  Attributes attributes = attributes_of(*object);
  attributes.modified = attributes.changed = now;
  attributes.links += static_cast<std::uint32_t>(links);
  set_attributes_of(*object, attributes);
  return {};
}

Result<std::uint64_t> Tree::make(const Operation& operation) {
  SBENCH_TRY(check_name(operation.name));
  SBENCH_TRY_SET(const ObjectRef parent, directory(operation.node));
  const Attributes above = attributes_of(*parent);
  if (above.links == 0) {
    return no_entry(operation.name);  // the directory was removed
  }
  SBENCH_TRY_SET(const auto existing, find_name(*parent, operation.name));
  if (existing) {
    return make_error(EEXIST, "'{}'", operation.name);
  }
  const bool is_directory = S_ISDIR(operation.mode);
  const bool is_link = S_ISLNK(operation.mode);
  if (is_link && (operation.data.empty() || operation.data.size() > kSymlinkMax)) {
    return make_error(operation.data.empty() ? ENOENT : ENAMETOOLONG, "a symbolic link's target");
  }
  mode_t mode = operation.mode;
  std::optional<std::string> access_acl;
  std::string default_acl;
  if (!is_link) {
    if (above.inline_kind == InlineKind::attributes || above.attribute_set != 0) {
      if (auto inherited = xattr(operation.node, kDefaultAcl); inherited.ok()) {
        default_acl = *inherited;
        access_acl = inherited_acl(default_acl, mode);
      }
    }
    if (!access_acl) {
      mode &= ~mode_t{operation.umask & 0777};
    }
  }
  Attributes attributes;
  attributes.uid = operation.uid;
  attributes.gid = operation.gid;
  if ((above.mode & S_ISGID) != 0) {
    attributes.gid = above.gid;
    mode |= is_directory ? S_ISGID : 0;
  }
  attributes.mode = mode;
  attributes.links = is_directory ? 2 : 1;
  attributes.device = S_ISCHR(mode) || S_ISBLK(mode) ? operation.device : 0;
  attributes.accessed = attributes.modified = attributes.changed = attributes.born = operation.now;
  SBENCH_TRY_SET(const ObjectRef object, objects_.create(ObjectType::node));
  attributes.parent = is_directory ? operation.node : 0;
  std::uint64_t salt = object->id();
  attributes.salt = splitmix64(salt);
  if (is_link && operation.data.size() <= kInlineBytes) {
    std::memcpy(attributes.inline_data.data(), operation.data.data(), operation.data.size());
    attributes.inline_bytes = static_cast<std::uint16_t>(operation.data.size());
    attributes.inline_kind = InlineKind::symlink;
  }
  set_attributes_of(*object, attributes);
  if (is_link && operation.data.size() > kInlineBytes) {
    SBENCH_TRY(object->write(0, std::as_bytes(std::span(operation.data)), record_bytes_));
  } else if (is_link) {
    object->change().size = operation.data.size();
  }
  if (access_acl && !is_minimal_acl(*access_acl)) {
    SBENCH_TRY(change_xattr(*object, kAccessAcl, &*access_acl));
  }
  if (is_directory && access_acl) {
    SBENCH_TRY(change_xattr(*object, kDefaultAcl, &default_acl));
  }
  SBENCH_TRY(add_name(*parent, operation.name, object->id(), type_of(mode)));
  SBENCH_TRY(touch_directory(operation.node, operation.now, is_directory ? 1 : 0));
  return object->id();
}

Status Tree::link(const Operation& operation) {
  SBENCH_TRY(check_name(operation.name));
  SBENCH_TRY_SET(const ObjectRef object, node(operation.node));
  SBENCH_TRY_SET(const ObjectRef parent, directory(operation.other));
  Attributes attributes = attributes_of(*object);
  if (S_ISDIR(attributes.mode)) {
    return make_error(EPERM, "a directory has one name");
  }
  if (attributes.links == 0 || attributes_of(*parent).links == 0) {
    return no_entry(operation.name);
  }
  if (attributes.links >= kLinksMax) {
    return make_error(EMLINK, "'{}'", operation.name);
  }
  SBENCH_TRY_SET(const auto existing, find_name(*parent, operation.name));
  if (existing) {
    return make_error(EEXIST, "'{}'", operation.name);
  }
  SBENCH_TRY(add_name(*parent, operation.name, object->id(), type_of(attributes.mode)));
  ++attributes.links;
  attributes.changed = operation.now;
  set_attributes_of(*object, attributes);
  return touch_directory(operation.other, operation.now);
}

Status Tree::remove_object(const ObjectRef& object) {
  if (const std::uint64_t set = attributes_of(*object).attribute_set; set != 0) {
    SBENCH_TRY_SET(const ObjectRef attributes, objects_.open(set));
    SBENCH_TRY(objects_.remove(attributes));
  }
  return objects_.remove(object);
}

Status Tree::drop_link(const ObjectRef& object, const Time& now, std::uint8_t& keep) {
  Attributes attributes = attributes_of(*object);
  attributes.links = S_ISDIR(attributes.mode) ? 0 : attributes.links - 1;
  attributes.changed = now;
  set_attributes_of(*object, attributes);
  if (attributes.links > 0) {
    return {};
  }
  keep = keep != 0 || object->references > 0 ? 1 : 0;
  if (keep == 0) {
    return remove_object(object);
  }
  SBENCH_TRY_SET(const ObjectRef orphans, objects_.open(kOrphansObject));
  return add_name(*orphans, orphan_name(object->id()), object->id(), type_of(attributes.mode));
}

Status Tree::unreferenced(const ObjectRef& object) {
  if (object->dnode().type != ObjectType::node || attributes_of(*object).links > 0) {
    return {};
  }
  SBENCH_TRY_SET(const ObjectRef orphans, objects_.open(kOrphansObject));
  SBENCH_TRY_SET(const auto found, find_name(*orphans, orphan_name(object->id())));
  if (found) {
    SBENCH_TRY(remove_name(*orphans, orphan_name(object->id())));
  }
  return remove_object(object);
}

Status Tree::remove_orphans() {
  SBENCH_TRY_SET(const ObjectRef orphans, objects_.open(kOrphansObject));
  std::vector<std::uint64_t> ids;
  SBENCH_TRY(list_names(*orphans, 0, [&](const Name& name) {
    ids.push_back(name.object);
    return true;
  }));
  for (const std::uint64_t id : ids) {
    SBENCH_TRY_SET(const ObjectRef object, objects_.open(id));
    if (object->references == 0) {
      SBENCH_TRY(unreferenced(object));
    }
  }
  return {};
}

Status Tree::unlink(Operation& operation) {
  SBENCH_TRY(check_name(operation.name));
  SBENCH_TRY_SET(const ObjectRef parent, directory(operation.node));
  SBENCH_TRY_SET(const ObjectRef object, lookup(operation.node, operation.name));
  if (S_ISDIR(attributes_of(*object).mode)) {
    return make_error(EISDIR, "'{}'", operation.name);
  }
  SBENCH_TRY(remove_name(*parent, operation.name));
  SBENCH_TRY(touch_directory(operation.node, operation.now));
  return drop_link(object, operation.now, operation.keep);
}

Status Tree::remove_directory(Operation& operation) {
  if (operation.name == "." || operation.name == "..") {
    return make_error(operation.name == "." ? EINVAL : ENOTEMPTY, "'{}'", operation.name);
  }
  SBENCH_TRY_SET(const ObjectRef parent, directory(operation.node));
  SBENCH_TRY_SET(const ObjectRef object, lookup(operation.node, operation.name));
  const Attributes attributes = attributes_of(*object);
  if (!S_ISDIR(attributes.mode)) {
    return make_error(ENOTDIR, "'{}'", operation.name);
  }
  if (attributes.entries > 0) {
    return make_error(ENOTEMPTY, "'{}'", operation.name);
  }
  SBENCH_TRY(remove_name(*parent, operation.name));
  SBENCH_TRY(touch_directory(operation.node, operation.now, -1));
  return drop_link(object, operation.now, operation.keep);
}

Result<bool> Tree::is_inside(std::uint64_t id, std::uint64_t ancestor) {
  for (std::set<std::uint64_t> passed; id != ancestor;) {
    if (id == kRootObject) {
      return false;
    }
    if (!passed.insert(id).second) {
      return plain_error(EUCLEAN, "{}: directory {} is above itself", objects_.label(), id);
    }
    SBENCH_TRY_SET(const ObjectRef object, directory(id));
    id = attributes_of(*object).parent;
  }
  return true;
}

Status Tree::exchange(const Operation& operation, const Name& from, const Name& to) {
  SBENCH_TRY_SET(const ObjectRef source, directory(operation.node));
  SBENCH_TRY_SET(const ObjectRef target, directory(operation.other));
  SBENCH_TRY(replace_name(*source, operation.name, to.object, to.type));
  SBENCH_TRY(replace_name(*target, operation.data, from.object, from.type));
  for (const auto& [id, parent] : {std::pair{from.object, operation.other}, std::pair{to.object, operation.node}}) {
    SBENCH_TRY_SET(const ObjectRef moved, node(id));
    Attributes attributes = attributes_of(*moved);
    attributes.parent = S_ISDIR(attributes.mode) ? parent : 0;
    attributes.changed = operation.now;
    set_attributes_of(*moved, attributes);
  }
  const int gained = (from.type == DT_DIR ? 1 : 0) - (to.type == DT_DIR ? 1 : 0);
  const int moved = operation.node == operation.other ? 0 : gained;
  SBENCH_TRY(touch_directory(operation.node, operation.now, -moved));
  return touch_directory(operation.other, operation.now, moved);
}

Status Tree::rename(Operation& operation) {
  const std::string_view new_name = operation.data;
  SBENCH_TRY(check_name(operation.name));
  SBENCH_TRY(check_name(new_name));
  const unsigned flags = operation.flags;
  if ((flags & ~(kNoReplace | kExchange | kWhiteout)) != 0 || ((flags & kExchange) != 0 && flags != kExchange)) {
    return make_error(EINVAL, "rename with flags {}", flags);
  }
  SBENCH_TRY_SET(const ObjectRef source, directory(operation.node));
  SBENCH_TRY_SET(const ObjectRef target, directory(operation.other));
  SBENCH_TRY_SET(const auto from, find_name(*source, operation.name));
  if (!from || attributes_of(*target).links == 0) {
    return no_entry(operation.name);
  }
  SBENCH_TRY_SET(const auto to, find_name(*target, new_name));
  SBENCH_TRY_SET(const ObjectRef object, node(from->object));
  if (from->type == DT_DIR) {
    SBENCH_TRY_SET(const bool inside, is_inside(operation.other, from->object));
    if (inside) {
      return make_error(EINVAL, "'{}' into itself", operation.name);
    }
  }
  if ((flags & kExchange) != 0) {
    if (!to) {
      return no_entry(new_name);
    }
    if (to->type == DT_DIR) {
      SBENCH_TRY_SET(const bool inside, is_inside(operation.node, to->object));
      if (inside) {
        return make_error(EINVAL, "'{}' into itself", new_name);
      }
    }
    return exchange(operation, *from, *to);
  }
  ObjectRef replaced;
  if (to) {
    if ((flags & kNoReplace) != 0) {
      return make_error(EEXIST, "'{}'", new_name);
    }
    if (to->object == from->object) {
      return {};  // two names of one file
    }
    SBENCH_TRY_SET(replaced, node(to->object));
    const Attributes old = attributes_of(*replaced);
    if (S_ISDIR(old.mode) != (from->type == DT_DIR)) {
      return make_error(S_ISDIR(old.mode) ? EISDIR : ENOTDIR, "'{}'", new_name);
    }
    if (S_ISDIR(old.mode) && old.entries > 0) {
      return make_error(ENOTEMPTY, "'{}'", new_name);
    }
  }
  if ((flags & kWhiteout) != 0) {
    SBENCH_TRY_SET(const ObjectRef whiteout, objects_.create(ObjectType::node));
    Attributes attributes;
    attributes.mode = S_IFCHR;
    attributes.links = 1;
    attributes.uid = operation.uid;
    attributes.gid = operation.gid;
    attributes.accessed = attributes.modified = attributes.changed = attributes.born = operation.now;
    set_attributes_of(*whiteout, attributes);
    SBENCH_TRY(replace_name(*source, operation.name, whiteout->id(), DT_CHR));
  } else {
    SBENCH_TRY(remove_name(*source, operation.name));
  }
  SBENCH_TRY(to ? replace_name(*target, new_name, from->object, from->type)
                : add_name(*target, new_name, from->object, from->type));
  Attributes attributes = attributes_of(*object);
  attributes.changed = operation.now;
  const bool is_directory = S_ISDIR(attributes.mode);
  attributes.parent = is_directory ? operation.other : 0;
  set_attributes_of(*object, attributes);
  SBENCH_TRY(touch_directory(operation.node, operation.now, is_directory ? -1 : 0));
  SBENCH_TRY(touch_directory(operation.other, operation.now, is_directory && !replaced ? 1 : 0));
  return replaced ? drop_link(replaced, operation.now, operation.keep) : Status();
}

}  // namespace sbench::cow_fs
