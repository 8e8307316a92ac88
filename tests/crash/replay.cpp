#include "tests/crash/replay.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>

#include "drivers/base/check.h"
#include "drivers/base/file.h"
#include "drivers/base/rng.h"
#include "drivers/base/units.h"

namespace sbench::crash {

namespace {

Status write_at(const Fd& file, std::uint64_t offset, std::span<const std::byte> data) {
  return ::pwrite(file.get(), data.data(), data.size(), static_cast<off_t>(offset)) == static_cast<ssize_t>(data.size())
             ? Status()
             : Status(errno_error("cannot write a replayed image"));
}

Status zero_at(const Fd& file, std::uint64_t offset, std::uint64_t length) {
  return ::fallocate(file.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset),
                     static_cast<off_t>(length)) == 0
             ? Status()
             : Status(errno_error("cannot zero a replayed image"));
}

Status apply(const Fd& file, const Record& record) {
  switch (record.kind) {
    case RecordKind::write:
    case RecordKind::durable_write:
      return write_at(file, record.offset, record.data);
    case RecordKind::zero:
      return zero_at(file, record.offset, record.length);
    case RecordKind::flush:
    case RecordKind::mark:
      return {};
  }
  SBENCH_CHECK(false);
}

const char* word_of(Keeps keeps) {
  return keeps == Keeps::nothing ? "nothing" : keeps == Keeps::everything ? "everything" : "some";
}

}  // namespace

std::string Cut::text() const { return fmt::format("{}:{}:{}", at, word_of(keeps), seed); }

Result<Cut> parse_cut(const std::string& text) {
  Cut cut;
  const auto first = text.find(':');
  const auto second = first == std::string::npos ? first : text.find(':', first + 1);
  if (second == std::string::npos) {
    return plain_error(EINVAL, "'{}' is no cut: AT:nothing|everything|some:SEED", text);
  }
  const std::string word = text.substr(first + 1, second - first - 1);
  for (const Keeps keeps : {Keeps::nothing, Keeps::everything, Keeps::some}) {
    cut.keeps = word == word_of(keeps) ? keeps : cut.keeps;
  }
  const char* end = text.data() + text.size();
  const bool numbers = std::from_chars(text.data(), text.data() + first, cut.at).ptr == text.data() + first &&
                       std::from_chars(text.data() + second + 1, end, cut.seed).ptr == end;
  if (!numbers || word != word_of(cut.keeps)) {
    return plain_error(EINVAL, "'{}' is no cut: AT:nothing|everything|some:SEED", text);
  }
  return cut;
}

std::vector<Cut> choose_cuts(const WriteLog& log, std::size_t first, std::size_t random_points, std::uint64_t seed) {
  const auto& records = log.records();
  std::vector<Cut> cuts;
  for (std::size_t at = first; at < records.size(); ++at) {
    if (records[at].kind == RecordKind::flush || records[at].kind == RecordKind::durable_write) {
      cuts.push_back({at, Keeps::nothing, 0});
    }
  }
  cuts.push_back({records.size(), Keeps::nothing, 0});
  Rng rng(seed, "cuts");
  for (std::size_t i = 0; i < random_points && first < records.size(); ++i) {
    const std::size_t at = first + 1 + rng.below(records.size() - first);
    cuts.push_back({at, Keeps::everything, 0});
    cuts.push_back({at, Keeps::some, rng.below(1'000'000)});
  }
  std::stable_sort(cuts.begin(), cuts.end(), [](const Cut& a, const Cut& b) { return a.at < b.at; });
  return cuts;
}

std::vector<Cut> thin_out(const std::vector<Cut>& cuts, std::size_t most) {
  if (cuts.size() <= most) {
    return cuts;
  }
  std::vector<Cut> chosen;
  for (std::size_t i = 1; i <= most; ++i) {
    chosen.push_back(cuts[i * cuts.size() / most - 1]);
  }
  return chosen;
}

Result<Replay> Replay::begin(const WriteLog& log, const std::filesystem::path& folder, std::uint64_t size_bytes,
                             std::uint32_t atom_bytes) {
  Replay replay(log, size_bytes, atom_bytes);
  SBENCH_TRY_SET(replay.image_, open_file(folder / "flushed", O_RDWR | O_CREAT | O_TRUNC));
  if (::ftruncate(replay.image_.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("cannot make an image in {}", folder.string());
  }
  return replay;
}

Status Replay::make(const Cut& cut, const std::filesystem::path& file) {
  const auto& records = log_->records();
  std::size_t flushed = std::min(cut.at, records.size());
  while (flushed > flushed_ && records[flushed - 1].kind != RecordKind::flush) {
    --flushed;
  }
  for (; flushed_ < flushed; ++flushed_) {
    SBENCH_TRY(apply(image_, records[flushed_]));
  }
  SBENCH_TRY_SET(const Fd target, open_file(file, O_RDWR | O_CREAT | O_TRUNC));
  SBENCH_TRY(copy_to(target));
  if (cut.keeps == Keeps::some) {
    return keep_some(target, cut);
  }
  for (std::size_t at = flushed_; at < std::min(cut.at, records.size()); ++at) {
    if (cut.keeps == Keeps::everything || records[at].kind == RecordKind::durable_write) {
      SBENCH_TRY(apply(target, records[at]));
    }
  }
  return {};
}

/// Only what is not a hole.
Status Replay::copy_to(const Fd& target) const {
  if (::ftruncate(target.get(), static_cast<off_t>(size_bytes_)) != 0) {
    return errno_error("cannot make a replayed image");
  }
  std::vector<std::byte> buffer(kMiB);
  for (off_t at = 0; (at = ::lseek(image_.get(), at, SEEK_DATA)) >= 0;) {
    const off_t end = ::lseek(image_.get(), at, SEEK_HOLE);
    while (at < end) {
      const std::size_t wanted = std::min<std::size_t>(buffer.size(), static_cast<std::size_t>(end - at));
      const ssize_t got = ::pread(image_.get(), buffer.data(), wanted, at);
      if (got <= 0) {
        return errno_error("cannot read the image that is replayed");
      }
      SBENCH_TRY(
          write_at(target, static_cast<std::uint64_t>(at), std::span(buffer).first(static_cast<std::size_t>(got))));
      at += got;
    }
  }
  return {};
}

/// In the order of the log: what a cache holds of one place is its last write, and what the medium holds that or an
/// older one.
Status Replay::keep_some(const Fd& target, const Cut& cut) const {
  Rng rng(cut.seed, "kept");
  const std::uint64_t percent = 10 + rng.below(81);
  const bool whole = rng.below(2) == 0;
  for (std::size_t at = flushed_; at < std::min(cut.at, log_->records().size()); ++at) {
    const Record& record = log_->records()[at];
    if (!record.changes()) {
      continue;
    }
    const std::uint64_t piece = whole ? std::max<std::uint64_t>(record.length, 1) : atom_bytes_;
    for (std::uint64_t done = 0; done < record.length;) {
      // Atoms are the device's, wherever a request begins.
      const std::uint64_t until =
          whole ? record.length
                : std::min(record.length, (record.offset + done) / piece * piece + piece - record.offset);
      if (rng.below(100) < percent || record.kind == RecordKind::durable_write) {
        SBENCH_TRY(record.kind == RecordKind::zero
                       ? zero_at(target, record.offset + done, until - done)
                       : write_at(target, record.offset + done, record.data.subspan(done, until - done)));
      }
      done = until;
    }
  }
  return {};
}

}  // namespace sbench::crash
