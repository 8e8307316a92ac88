// object_set.cpp: the objects of a dataset, kept as blocks of an object of their own.
#include "drivers/cow_fs/object.h"

namespace sbench::cow_fs {

ObjectSet::ObjectSet(Core& core, Accounts& accounts, std::string label, Compression compression)
    : core_(core), accounts_(accounts), label_(std::move(label)), compression_(compression) {}

void ObjectSet::make(std::uint64_t first_object) {
  block_ = {};
  block_.magic = kObjectSetMagic;
  block_.next_object = first_object;
  block_.dnodes.type = ObjectType::dnodes;
  block_.dnodes.block_bytes = kDnodeBlockBytes;
  dnodes_ = std::make_unique<Object>(*this, 0, block_.dnodes);
  changed_ = true;
}

Status ObjectSet::load(const BlockPointer& objects) {
  const auto content = core_.blocks.read(objects);
  if (!content.ok()) {
    return plain_error(content.error().code, "{}: {}", label_, content.error().what);
  }
  if ((*content)->size() >= sizeof(ObjectSetBlock)) {
    block_ = cow_fs::load<ObjectSetBlock>((*content)->data());
  }
  if (block_.magic != kObjectSetMagic || !is_plausible(block_.dnodes) || block_.dnodes.type != ObjectType::dnodes ||
      block_.dnodes.block_bytes != kDnodeBlockBytes || block_.next_object > kObjectsMax) {
    return plain_error(EUCLEAN, "{}: {}: no object set", label_, describe(objects));
  }
  pointer_ = objects;
  dnodes_ = std::make_unique<Object>(*this, 0, block_.dnodes);
  return {};
}

Result<ObjectRef> ObjectSet::open(std::uint64_t id) {
  if (const auto found = open_.find(id); found != open_.end()) {
    if (found->second->dnode().type == ObjectType::free) {
      return plain_error(ENOENT, "{}: no object {}", label_, id);
    }
    return found->second;
  }
  if (id == 0 || id >= block_.next_object) {
    return plain_error(ENOENT, "{}: no object {}", label_, id);
  }
  SBENCH_TRY_SET(const BytesRef block, dnodes_->block(id / kDnodesPerBlock));
  Dnode dnode;
  if (block) {
    dnode = cow_fs::load<Dnode>(block->data() + id % kDnodesPerBlock * kDnodeBytes);
  }
  if (dnode.type == ObjectType::free) {
    return plain_error(ENOENT, "{}: no object {}", label_, id);
  }
  if (!is_plausible(dnode)) {
    return plain_error(EUCLEAN, "{}: object {}: its dnode makes no sense", label_, id);
  }
  auto object = std::make_shared<Object>(*this, id, dnode);
  open_[id] = object;
  return object;
}

Result<ObjectRef> ObjectSet::create(ObjectType type, std::uint64_t id) {
  if (id == 0) {
    id = block_.next_object;
  }
  block_.next_object = std::max(block_.next_object, id + 1);
  Dnode dnode;
  dnode.type = type;
  auto object = std::make_shared<Object>(*this, id, dnode);
  object->mark_dirty();
  open_[id] = object;
  ++block_.objects;
  return object;
}

Status ObjectSet::remove(const ObjectRef& object) {
  SBENCH_TRY(object->free_blocks(0, std::numeric_limits<std::uint64_t>::max()));
  object->change() = Dnode();
  --block_.objects;
  return {};
}

Status ObjectSet::for_each(const std::function<Status(const ObjectRef&)>& visit) {
  std::uint64_t left = core_.blocks.blocks_max() + dnodes_->dirty_blocks_.size();
  for (std::uint64_t index = 0;; ++index) {
    SBENCH_TRY_SET(const auto stored, dnodes_->next_block(index));
    // Objects that were never written are in no block, and only in memory.
    const auto made = dirty_.lower_bound(index * kDnodesPerBlock);
    if (!stored && made == dirty_.end()) {
      return {};
    }
    index = std::min(stored.value_or(~std::uint64_t{0}), made == dirty_.end() ? ~std::uint64_t{0} : *made / kDnodesPerBlock);
    const std::uint64_t first = index * kDnodesPerBlock;
    if (first >= block_.next_object) {
      return {};
    }
    for (std::uint64_t id = std::max<std::uint64_t>(first, 1); id < std::min(first + kDnodesPerBlock, block_.next_object); ++id) {
      auto object = open(id);
      if (object.ok()) {
        SBENCH_TRY(visit(*object));
      } else if (object.error().code != ENOENT) {
        return object.error();
      }
    }
    if (stored == index && left-- == 0) {
      return plain_error(EUCLEAN, "{}: more blocks of dnodes than the pool has", label_);
    }
  }
}

Result<BlockPointer> ObjectSet::sync() {
  if (!is_dirty()) {
    return pointer_;
  }
  for (const std::uint64_t id : dirty_) {
    Object& object = *open_.at(id);
    SBENCH_TRY(object.sync());
    SBENCH_TRY_SET(const auto block, dnodes_->modify_block(id / kDnodesPerBlock));
    store(block.data() + id % kDnodesPerBlock * kDnodeBytes, object.dnode_);
    object.dirty_ = false;
    if (object.dnode_.type == ObjectType::free) {
      open_.erase(id);
    }
  }
  core_.dirty_objects -= dirty_.size();
  dirty_.clear();
  SBENCH_TRY(dnodes_->sync());
  dnodes_->dirty_ = false;
  block_.dnodes = dnodes_->dnode_;
  auto content = std::make_shared<Bytes>(zeroed(kSector));
  store(content->data(), block_);
  auto encoded = BlockStore::encode(content, BlockKind::object_set, 0, Compression::off);
  SBENCH_TRY_SET(encoded.pointer.address, core_.space.allocate(encoded.pointer.physical_bytes));
  encoded.pointer.birth = core_.group;
  SBENCH_TRY(core_.blocks.write(encoded, content));
  ++core_.blocks_written;
  core_.bytes_written += encoded.pointer.physical_bytes;
  accounts_.born(encoded.pointer);
  if (!pointer_.is_hole()) {
    SBENCH_TRY(accounts_.freed(pointer_));
  }
  pointer_ = encoded.pointer;
  changed_ = false;
  return pointer_;
}

void ObjectSet::trim() {
  std::erase_if(open_, [](const auto& entry) {
    const Object& object = *entry.second;
    return entry.second.use_count() == 1 && object.references == 0 && !object.dirty_ && object.dirty_blocks_.empty();
  });
}

}  // namespace sbench::cow_fs
