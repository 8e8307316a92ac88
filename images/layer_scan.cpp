#include "images/layer_scan.h"

#include <sys/stat.h>

#include <algorithm>

#include "drivers/base/hash.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/tar_reader.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/whiteout.h"

namespace sbench {
namespace {

class Scanner {
 public:
  Scanner(std::string shown, ByteSink* content, std::size_t entries_max, std::uint64_t bytes_max)
      : shown_(std::move(shown)), content_(content), entries_max_(entries_max), bytes_max_(bytes_max) {}

  Result<ScannedLayer> scan(ByteSource& tar) {
    TarReader reader(tar);
    for (;;) {
      const auto entry = reader.next();
      if (!entry.ok()) {
        return named(entry.error());
      }
      if (*entry == nullptr) {
        return std::move(layer_);
      }
      SBENCH_TRY(take(reader, **entry));
    }
  }

 private:
  [[nodiscard]] Error named(const Error& error) const { return plain_error(error.code, "{}: {}", shown_, error.what); }

  Status take(TarReader& reader, const ReadEntry& entry) {
    auto path = contained_path(entry.name);
    if (!path.ok()) {
      return named(path.error());
    }
    const auto slash = path->rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path->substr(0, slash);
    const std::string name = slash == std::string::npos ? *path : path->substr(slash + 1);
    switch (whiteout_name(name)) {
      case WhiteoutName::opaque:
        layer_.opaques.push_back(folder);
        return {};
      case WhiteoutName::whiteout: {
        const std::string hidden = name.substr(std::string_view(kWhiteoutPrefix).size());
        if (hidden.empty() || hidden == "." || hidden == "..") {
          return named(plain_error(EINVAL, "the whiteout {} names nothing that could be deleted", *path));
        }
        layer_.deletions.push_back(join_path(folder, hidden));
        return {};
      }
      case WhiteoutName::internal:
        return {};
      case WhiteoutName::none:
        break;
    }
    if (layer_.entries.size() >= entries_max_) {
      return plain_error(EFBIG, "{}: more than {} entries", shown_, entries_max_);
    }
    ScannedEntry made;
    made.path = std::move(*path);
    made.mode = entry.mode;
    made.uid = entry.uid;
    made.gid = entry.gid;
    made.mtime_ns = nanoseconds(entry.mtime);
    made.device_number = entry.device_number;
    made.link_target = entry.link_target;
    made.xattrs = entry.xattrs;
    if (entry.hard_link_target.has_value()) {
      const auto target = contained_path(*entry.hard_link_target);
      if (!target.ok()) {
        return named(target.error());
      }
      made.hard_link_target = *target;
    } else if (S_ISREG(entry.mode)) {
      made.size_bytes = entry.size_bytes;
      if (made.size_bytes > bytes_max_ - layer_.content_bytes) {
        return plain_error(EFBIG, "{}: {} takes its content beyond {} bytes", shown_, shown(made.path), bytes_max_);
      }
      SBENCH_TRY(take_content(reader, made));
    }
    layer_.entries.push_back(std::move(made));
    return {};
  }

  Status take_content(TarReader& reader, ScannedEntry& entry) {
    std::uint64_t at = 0;
    for (;;) {
      const auto run = reader.next_data();
      if (!run.ok()) {
        return named(run.error());
      }
      if (!run->has_value()) {
        break;
      }
      if ((*run)->offset > entry.size_bytes || (*run)->data.size() > entry.size_bytes - (*run)->offset) {
        return plain_error(EINVAL, "{}: {} has content behind its end", shown_, shown(entry.path));
      }
      SBENCH_TRY(fill_hole(entry, at, (*run)->offset));
      SBENCH_TRY(take_bytes(entry, (*run)->data));
      at = (*run)->offset + (*run)->data.size();
    }
    SBENCH_TRY(fill_hole(entry, at, entry.size_bytes));
    layer_.content_bytes += entry.size_bytes;
    return {};
  }

  Status fill_hole(ScannedEntry& entry, std::uint64_t from, std::uint64_t to) {
    static const std::vector<std::byte> zeros(1 << 16);
    while (from < to) {
      const auto piece = std::span(zeros).first(std::min<std::uint64_t>(zeros.size(), to - from));
      SBENCH_TRY(take_bytes(entry, piece));
      from += piece.size();
    }
    return {};
  }

  Status take_bytes(ScannedEntry& entry, std::span<const std::byte> data) {
    entry.content_hash = xxh3(data, entry.content_hash);
    return content_ == nullptr ? Status() : content_->write(data);
  }

  std::string shown_;
  ByteSink* content_;
  std::size_t entries_max_;
  std::uint64_t bytes_max_;
  ScannedLayer layer_;
};

}  // namespace

Result<ScannedLayer> scan_layer(std::span<const std::byte> tar, const std::string& shown, ByteSink* content,
                                std::size_t entries_max, std::uint64_t holes_max) {
  MemorySource source(tar);
  return Scanner(shown, content, entries_max, tar.size() + holes_max).scan(source);
}

}  // namespace sbench
