// directory.h: names in a directory, in a tree of leaves found by hash.
//
// A name's hash is its position; a leaf holds the positions with a common
// prefix. A full leaf is split in two, so a lookup reads one leaf whatever the
// directory's size, and a reader that goes on from a position misses nothing.
// FORMAT.md says how leaves are numbered. The object's bonus holds Attributes.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "drivers/cow_fs/object.h"

namespace sbench::cow_fs {

inline constexpr std::size_t kDirectoryNameMax = 255;

struct Name {
  std::uint64_t position = 0;  ///< in the directory, unique; at least 256, below 2^63
  std::uint64_t object = 0;
  std::uint8_t type = 0;  ///< DT_*
  std::string_view text;
};

/// The entry's text is not set.
[[nodiscard]] Result<std::optional<Name>> find_name(Object& directory, std::string_view name);
/// The name is not there yet. ENOSPC when 256 names share a hash.
[[nodiscard]] Status add_name(Object& directory, std::string_view name, std::uint64_t object, std::uint8_t type);
/// The name is there; it stands for another object afterwards.
[[nodiscard]] Status replace_name(Object& directory, std::string_view name, std::uint64_t object, std::uint8_t type);
/// The name is there.
[[nodiscard]] Status remove_name(Object& directory, std::string_view name);
/// Calls `take` in order of position, from `position` on, until it returns false.
[[nodiscard]] Status list_names(Object& directory, std::uint64_t position, const std::function<bool(const Name&)>& take);

[[nodiscard]] Attributes attributes_of(const Object& object);
void set_attributes_of(Object& object, const Attributes& attributes);

/// A leaf's entries as they stand; EUCLEAN when it is none.
[[nodiscard]] Status read_leaf(std::span<const std::byte> leaf, const std::function<bool(const Name&)>& take);

}  // namespace sbench::cow_fs
