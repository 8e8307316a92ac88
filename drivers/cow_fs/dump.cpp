#include "drivers/cow_fs/dump.h"

#include <sys/stat.h>

#include <algorithm>

#include "drivers/cow_fs/pool.h"

namespace sbench::cow_fs {

namespace {

using Line = std::function<Status(std::string_view line)>;

const char* to_text(Compression compression) { return compression == Compression::lz4 ? "lz4" : "off"; }

/// What is no plain text as \xNN.
std::string escaped(std::string_view text) {
  const auto is_plain = [](char c) { return c > ' ' && c < 0x7f && c != '\\'; };
  std::string shown;
  while (!text.empty()) {
    const auto end = std::find_if_not(text.begin(), text.end(), is_plain);
    shown.append(text.begin(), end);
    text.remove_prefix(static_cast<std::size_t>(end - text.begin()));
    if (!text.empty()) {
      shown += fmt::format("\\x{:02x}", static_cast<unsigned char>(text.front()));
      text.remove_prefix(1);
    }
  }
  return shown;
}

Status dump_object(Object& object, const Line& line) {
  const Dnode& dnode = object.dnode();
  if (dnode.type != ObjectType::node) {
    return line(fmt::format("    object {} type {} size {} used {}\n", object.id(), static_cast<int>(dnode.type), dnode.size, dnode.used_bytes));
  }
  const Attributes at = attributes_of(object);
  SBENCH_TRY(line(fmt::format("    object {} mode {:o} owner {}:{} links {} size {} used {} block {} levels {} mtime {}.{:09}\n",
                              object.id(), at.mode, at.uid, at.gid, at.links, dnode.size, dnode.used_bytes, dnode.block_bytes,
                              dnode.levels, at.modified.seconds, at.modified.nanoseconds)));
  if (!S_ISDIR(at.mode)) {
    return {};
  }
  Status shown;
  SBENCH_TRY(list_names(object, 0, [&](const Name& name) {
    shown = line(fmt::format("      name {} object {}\n", escaped(name.text), name.object));
    return shown.ok();
  }));
  return shown;
}

}  // namespace

Status dump_pool(BlockIo& io, const Line& line) {
  OpenOptions options;
  options.read_only = true;
  options.commit_interval_ms = 0;
  SBENCH_TRY_SET(const auto pool, Pool::open(io, options));
  const LabelHeader& header = pool->header();
  const PoolStatistics figures = pool->statistics();
  SBENCH_TRY(line(fmt::format("pool {:016x} version {} bytes {} region {} regions {} log {}\n", header.guid, header.version,
                              header.device_bytes, header.region_bytes, header.regions, header.log_bytes)));
  SBENCH_TRY(line(fmt::format("group {} used {} replayed {}\n", figures.group, figures.used_bytes, figures.replayed)));
  for (const DatasetInfo& info : pool->list()) {
    const DatasetRecord& record = info.record;
    SBENCH_TRY(line(fmt::format("  {} {} id {} previous {} after {} record {} compression {} own {} referenced {} quota {}{}\n",
                                record.is_snapshot != 0 ? "snapshot" : "dataset", escaped(info.name), info.id, record.previous,
                                record.previous_birth, record.record_bytes, to_text(record.compression), record.own_bytes,
                                record.referenced_bytes, record.quota_bytes, record.deferred != 0 ? " deferred" : "")));
    const auto held = pool->lock();
    SBENCH_TRY_SET(Dataset* const dataset, pool->use(info.name));
    const Status dumped = dataset->objects->for_each([&](const ObjectRef& object) { return dump_object(*object, line); });
    pool->unuse(*dataset);
    SBENCH_TRY(dumped);
  }
  return {};
}

}  // namespace sbench::cow_fs
