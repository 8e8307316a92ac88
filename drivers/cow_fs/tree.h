// tree.h: a dataset's file tree: what each operation means for its objects.
//
// No locks, no log, no space limits: the pool holds its lock, logs what
// succeeded and refuses what does not fit. Open files and lookups are counted on
// the objects; a file that loses its last name while counted becomes an orphan.
#pragma once

#include "drivers/base/file_system.h"
#include "drivers/cow_fs/directory.h"
#include "drivers/cow_fs/operation.h"

namespace sbench::cow_fs {

class Tree {
 public:
  explicit Tree(ObjectSet& objects, std::uint32_t record_bytes) : objects_(objects), record_bytes_(record_bytes) {}

  /// The root directory and the list of orphans, in an empty object set.
  [[nodiscard]] Status make_root(const Time& now);

  /// Does it; the number of the object it made, else 0. On error nothing changed, but for errors of the device.
  [[nodiscard]] Result<std::uint64_t> apply(Operation& operation);

  [[nodiscard]] Result<ObjectRef> node(std::uint64_t id);
  /// ENOTDIR as well.
  [[nodiscard]] Result<ObjectRef> directory(std::uint64_t id);
  /// ENOENT, ENAMETOOLONG.
  [[nodiscard]] Result<ObjectRef> lookup(std::uint64_t parent, std::string_view name);
  [[nodiscard]] struct stat attributes(const Object& object) const;
  [[nodiscard]] Result<std::string> read_link(std::uint64_t id);
  [[nodiscard]] Result<std::string> xattr(std::uint64_t id, std::string_view name);
  [[nodiscard]] Result<std::string> xattr_names(std::uint64_t id);
  /// The object's last reference went: an orphan goes with it.
  [[nodiscard]] Status unreferenced(const ObjectRef& object);
  /// Orphans that nobody refers to (their users died with the machine) go.
  [[nodiscard]] Status remove_orphans();

 private:
  [[nodiscard]] Result<std::uint64_t> make(const Operation& operation);
  [[nodiscard]] Status link(const Operation& operation);
  [[nodiscard]] Status unlink(Operation& operation);
  [[nodiscard]] Status remove_directory(Operation& operation);
  [[nodiscard]] Status rename(Operation& operation);
  [[nodiscard]] Status exchange(const Operation& operation, const Name& from, const Name& to);
  [[nodiscard]] Status set_attributes(const Operation& operation);
  [[nodiscard]] Status write(const Operation& operation);
  [[nodiscard]] Status allocate(const Operation& operation);
  [[nodiscard]] Status set_xattr(const Operation& operation);
  [[nodiscard]] Status remove_xattr(const Operation& operation);

  [[nodiscard]] Status drop_link(const ObjectRef& object, const Time& now, std::uint8_t& keep);
  [[nodiscard]] Status remove_object(const ObjectRef& object);
  [[nodiscard]] Result<bool> is_inside(std::uint64_t directory, std::uint64_t ancestor);
  [[nodiscard]] Status touch_directory(std::uint64_t id, const Time& now, int links = 0);
  [[nodiscard]] Result<std::string> load_xattrs(Object& object);
  [[nodiscard]] Status save_xattrs(Object& object, std::string_view attributes);
  [[nodiscard]] Status change_xattr(Object& object, std::string_view name, const std::string* value);

  ObjectSet& objects_;
  std::uint32_t record_bytes_;
};

[[nodiscard]] Time time_now();

}  // namespace sbench::cow_fs
