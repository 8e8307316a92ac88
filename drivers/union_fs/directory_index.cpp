#include "drivers/union_fs/directory_index.h"

#include <functional>
#include <utility>

namespace sbench::union_fs {

DirectoryIndex::DirectoryIndex() : slots_(16, 0) {}

std::size_t DirectoryIndex::slot_of(std::string_view name) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t slot = std::hash<std::string_view>{}(name) & mask;
  while (slots_[slot] != 0 && this->name(entries_[slots_[slot] - 1]) != name) {
    slot = (slot + 1) & mask;
  }
  return slot;
}

const DirectoryIndex::Entry* DirectoryIndex::find(std::string_view name) const {
  const std::uint32_t position = slots_[slot_of(name)];
  return position == 0 || !entries_[position - 1].live ? nullptr : &entries_[position - 1];
}

DirectoryIndex::Entry* DirectoryIndex::find(std::string_view name) {
  return const_cast<Entry*>(std::as_const(*this).find(name));
}

void DirectoryIndex::grow() {
  slots_.assign(slots_.size() * 2, 0);
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t position = 0; position < entries_.size(); ++position) {
    // Of the positions a name had, the last counts; earlier ones are dead.
    std::size_t slot = std::hash<std::string_view>{}(name(entries_[position])) & mask;
    while (slots_[slot] != 0 && name(entries_[slots_[slot] - 1]) != name(entries_[position])) {
      slot = (slot + 1) & mask;
    }
    slots_[slot] = static_cast<std::uint32_t>(position + 1);
  }
}

DirectoryIndex::Entry& DirectoryIndex::add(std::string_view name, std::uint16_t branch, unsigned char type,
                                           std::uint64_t inode) {
  if ((entries_.size() + 1) * 2 > slots_.size()) {
    grow();
  }
  const std::size_t slot = slot_of(name);
  Entry entry;
  entry.inode = inode;
  entry.name_offset = static_cast<std::uint32_t>(names_.size());
  entry.name_size = static_cast<std::uint16_t>(name.size());
  entry.branch = branch;
  entry.type = type;
  entry.live = true;
  if (slots_[slot] != 0) {
    entry.name_offset = entries_[slots_[slot] - 1].name_offset;  // a dead position holds the same name
  } else {
    names_.append(name);
  }
  entries_.push_back(entry);
  slots_[slot] = static_cast<std::uint32_t>(entries_.size());
  visible_ += 1;
  return entries_.back();
}

void DirectoryIndex::add_whiteout(std::string_view name, std::uint16_t branch) {
  Entry& entry = add(name, branch, 0, 0);
  entry.whiteout = true;
  entry.also_lower = branch == 0;
  visible_ -= 1;
}

void DirectoryIndex::put_upper(std::string_view name, unsigned char type, std::uint64_t inode) {
  Entry* entry = find(name);
  bool lower = false;
  if (entry != nullptr) {
    lower = entry->also_lower || (entry->branch != 0 && !entry->whiteout);
    if (!entry->whiteout) {
      entry->branch = 0;
      entry->type = type;
      entry->inode = inode;
      entry->also_lower = lower;
      return;
    }
    entry->live = false;
  }
  Entry& added = add(name, 0, type, inode);
  added.also_lower = lower;
}

void DirectoryIndex::remove(std::string_view name, bool lower) {
  Entry* entry = find(name);
  if (entry == nullptr) {
    return;
  }
  if (!entry->whiteout) {
    visible_ -= 1;
  }
  if (lower) {
    entry->whiteout = true;
    entry->branch = 0;
    entry->also_lower = true;
  } else {
    entry->live = false;
  }
}

std::size_t DirectoryIndex::bytes() const {
  return sizeof *this + entries_.capacity() * sizeof(Entry) + names_.capacity() + slots_.capacity() * 4;
}

}  // namespace sbench::union_fs
