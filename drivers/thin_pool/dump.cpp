#include "drivers/thin_pool/dump.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>
#include <sstream>
#include <vector>

#include "drivers/thin_pool/metadata.h"

namespace sbench::thin_pool {

namespace {

constexpr std::uint64_t kCacheBytes = std::uint64_t{64} << 20;
constexpr std::size_t kLineBytesMax = 500;

/// Neighbouring chunks at neighbouring blocks, of one time.
struct Run {
  std::uint64_t chunk = 0;
  std::uint64_t length = 0;
  Mapping first;

  [[nodiscard]] bool continues(std::uint64_t next, const Mapping& mapping) const {
    const bool same = mapping.is_zero() == first.is_zero() && mapping.time == first.time && next == chunk + length;
    return length > 0 && same && (first.is_zero() || mapping.block == first.block + length);
  }
  [[nodiscard]] std::string text() const {
    return first.is_zero() ? fmt::format("zero {}+{}\n", chunk, length)
                           : fmt::format("map {}+{} {} {}\n", chunk, length, first.block, first.time);
  }
};

struct DumpedDevice {
  DeviceId id = 0;
  DeviceRecord record;
  std::vector<Run> runs;
};

struct Dump {
  Geometry geometry;
  bool skip_zeroing = false;
  std::uint32_t time = 0;
  std::vector<DumpedDevice> devices;
};

using Fields = std::map<std::string, std::uint64_t>;

bool parse_number(std::string_view text, std::uint64_t& number) {
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  return failure == std::errc() && end == text.data() + text.size();
}

/// "name=number …"; false when one is not, or a wanted one is missing.
bool parse_fields(std::istringstream& words, const std::vector<std::string>& wanted, Fields& fields) {
  for (std::string word; words >> word;) {
    const auto equals = word.find('=');
    if (equals == std::string::npos || !parse_number(std::string_view(word).substr(equals + 1), fields[word.substr(0, equals)])) {
      return false;
    }
  }
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& name) { return fields.contains(name); });
}

bool parse_head(std::istringstream& words, Dump& dump) {
  std::uint64_t version = 0;
  Fields fields;
  std::string text;
  if (!(words >> text) || !parse_number(text, version) || version != 1 ||
      !parse_fields(words, {"chunk_bytes", "metadata_blocks", "data_offset", "data_chunks", "skip_zeroing", "time"},
                    fields)) {
    return false;
  }
  dump.geometry = {fields["chunk_bytes"], fields["metadata_blocks"], fields["data_offset"], fields["data_chunks"]};
  dump.skip_zeroing = fields["skip_zeroing"] != 0;
  dump.time = static_cast<std::uint32_t>(fields["time"]);
  // What does not overflow where it is multiplied; whether it fits on the device is seen later.
  return fields["time"] < kTimes && dump.geometry.chunk_bytes >= kChunkBytesMin &&
         dump.geometry.chunk_bytes <= kChunkBytesMax && dump.geometry.chunk_bytes % kChunkBytesMin == 0 && dump.geometry.metadata_blocks > 0 &&
         dump.geometry.metadata_blocks <= kCountedMax && dump.geometry.data_chunks <= kCountedMax && dump.geometry.data_chunks > 0 &&
         dump.geometry.data_offset <= kDeviceBytesMax && dump.geometry.data_offset % kBlockBytes == 0;
}

bool parse_device(std::istringstream& words, Dump& dump) {
  std::uint64_t id = 0;
  Fields fields;
  std::string text;
  if (!(words >> text) || !parse_number(text, id) || id >= kDeviceIds ||
      !parse_fields(words, {"size_bytes", "created", "snapshotted", "transaction"}, fields)) {
    return false;
  }
  DumpedDevice device;
  device.id = static_cast<DeviceId>(id);
  device.record.size_bytes = fields["size_bytes"];
  device.record.created_time = static_cast<std::uint32_t>(fields["created"]);
  device.record.snapshotted_time = static_cast<std::uint32_t>(fields["snapshotted"]);
  device.record.transaction = fields["transaction"];
  dump.devices.push_back(std::move(device));
  return fields["size_bytes"] <= kDeviceBytesMax && fields["created"] <= dump.time && fields["snapshotted"] <= dump.time;
}

/// "0+16 120 3" or, for zeros, "0+16".
bool parse_run(std::istringstream& words, bool zero, Dump& dump) {
  std::string place;
  std::uint64_t time = dump.time;
  Run run;
  if (dump.devices.empty() || !(words >> place)) {
    return false;
  }
  const auto plus = place.find('+');
  bool good = plus != std::string::npos && parse_number(std::string_view(place).substr(0, plus), run.chunk) &&
              parse_number(std::string_view(place).substr(plus + 1), run.length);
  run.first.block = Mapping::kZeroBlock;
  if (!zero) {
    good = good && words >> run.first.block >> time && run.first.block <= dump.geometry.data_chunks &&
           run.length <= dump.geometry.data_chunks - run.first.block && time <= dump.time && run.first.block < dump.geometry.data_chunks;
  }
  const auto& [id, record, before] = dump.devices.back();
  const std::uint64_t chunks = chunks_of(record, dump.geometry.chunk_bytes);
  const bool behind = before.empty() || before.back().chunk + before.back().length <= run.chunk;
  good = good && run.length > 0 && run.chunk < chunks && run.length <= chunks - run.chunk && behind;
  run.first.time = static_cast<std::uint32_t>(time);
  dump.devices.back().runs.push_back(run);
  return good;
}

Result<Dump> parse_dump(std::istream& text) {
  Dump dump;
  bool ended = false;
  std::uint64_t number = 0;
  for (std::string line; !ended && std::getline(text, line);) {
    ++number;
    std::istringstream words(line);
    std::string kind;
    words >> kind;
    bool good = false;
    if (number == 1) {
      good = kind == "thin_pool" && parse_head(words, dump);
    } else if (kind == "device") {
      good = parse_device(words, dump);
    } else if (kind == "map" || kind == "zero") {
      good = parse_run(words, kind == "zero", dump);
    } else {
      good = ended = kind == "end";
    }
    good = good && line.size() <= kLineBytesMax;
    if (!good) {
      return plain_error(EINVAL, "line {} is not one of a thin pool's dump: {}", number, line.substr(0, kLineBytesMax));
    }
  }
  if (!ended) {
    return plain_error(EINVAL, "the dump of the thin pool is cut short: it has no line 'end'");
  }
  return dump;
}

Status restore_device(Metadata& metadata, const DumpedDevice& device) {
  SBENCH_TRY(metadata.restore_device(device.id, device.record));
  for (const Run& run : device.runs) {
    for (std::uint64_t i = 0; i < run.length; ++i) {
      Mapping mapping = run.first;
      mapping.block += mapping.is_zero() ? 0 : i;
      SBENCH_TRY(metadata.restore_mapping(device.id, run.chunk + i, mapping));
    }
  }
  return {};
}

}  // namespace

Status dump_pool(BlockIo& io, const std::function<Status(std::string_view line)>& line) {
  SBENCH_TRY_SET(const auto metadata, Metadata::open(io, kCacheBytes));
  const Superblock& superblock = metadata->superblock();
  SBENCH_TRY(line(fmt::format(
      "thin_pool 1 chunk_bytes={} metadata_blocks={} data_offset={} data_chunks={} skip_zeroing={} time={} transaction={}\n",
      superblock.chunk_bytes, superblock.metadata.size, superblock.data_offset, superblock.data.size,
      superblock.skip_zeroing, superblock.time, superblock.transaction)));
  SBENCH_TRY_SET(const auto ids, metadata->device_ids());
  for (const DeviceId id : ids) {
    SBENCH_TRY_SET(const DeviceRecord record, metadata->device(id));
    SBENCH_TRY(line(fmt::format("device {} size_bytes={} created={} snapshotted={} transaction={}\n", id,
                                record.size_bytes, record.created_time, record.snapshotted_time, record.transaction)));
    Run run;
    SBENCH_TRY(metadata->for_each_mapping(id, 0, std::numeric_limits<std::uint64_t>::max(),
                                          [&](std::uint64_t chunk, Mapping mapping) -> Result<bool> {
                                            if (run.continues(chunk, mapping)) {
                                              ++run.length;
                                              return true;
                                            }
                                            if (run.length > 0) {
                                              SBENCH_TRY(line(run.text()));
                                            }
                                            run = Run{chunk, 1, mapping};
                                            return true;
                                          }));
    if (run.length > 0) {
      SBENCH_TRY(line(run.text()));
    }
  }
  return line("end\n");
}

Status restore_pool(BlockIo& io, std::istream& text) {
  SBENCH_TRY_SET(const Dump dump, parse_dump(text));
  const Geometry& geometry = dump.geometry;
  const std::uint64_t end = geometry.data_offset + geometry.data_chunks * geometry.chunk_bytes;  // parse_head() saw to it that it can
  SBENCH_TRY(divide_device(io.size_bytes(), geometry.chunk_bytes, geometry.metadata_blocks * kBlockBytes));
  if (geometry.metadata_blocks * kBlockBytes > geometry.data_offset || end > io.size_bytes()) {
    return plain_error(EINVAL, "the dump's pool has {} bytes and does not fit on a device of {}", end, io.size_bytes());
  }
  SBENCH_TRY(Metadata::format(io, geometry, dump.skip_zeroing));
  SBENCH_TRY_SET(const auto metadata, Metadata::open(io, kCacheBytes));
  metadata->restore_time(dump.time);
  for (const DumpedDevice& device : dump.devices) {
    SBENCH_TRY(restore_device(*metadata, device));
  }
  SBENCH_TRY_SET(const auto sealed, metadata->seal());
  SBENCH_TRY(metadata->write(sealed));
  metadata->settle();
  return metadata->write_clean();
}

}  // namespace sbench::thin_pool
