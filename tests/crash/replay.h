// replay.h: what a device may hold when the power goes at a point of its write log.
//
// Writes stand in a volatile cache until the next flush. A cut keeps what was flushed before
// it, and of the rest all, nothing, or what a seed picks: whole requests or single atoms
// (what the device writes in one piece), each of them kept or lost.
#pragma once

#include <filesystem>
#include <string>

#include "tests/crash/write_log.h"

namespace sbench::crash {

enum class Keeps { nothing, everything, some };

struct Cut {
  std::size_t at = 0;            ///< records before it were made
  Keeps keeps = Keeps::nothing;  ///< of what was not flushed
  std::uint64_t seed = 0;        ///< of Keeps::some

  /// "121:some:77", as parse_cut() takes it.
  [[nodiscard]] std::string text() const;
};
[[nodiscard]] Result<Cut> parse_cut(const std::string& text);

/// The cuts worth making from record `first` on. Of every epoch (what lies between two flushes or durable writes):
/// nothing kept at its end, which is when most was acknowledged since the flush. Then for each of `random_points`,
/// wherever it falls: everything kept, and some. Sorted by `at`.
[[nodiscard]] std::vector<Cut> choose_cuts(const WriteLog& log, std::size_t first, std::size_t random_points,
                                           std::uint64_t seed);
/// At most `most` of them, spread evenly, always the last.
[[nodiscard]] std::vector<Cut> thin_out(const std::vector<Cut>& cuts, std::size_t most);

/// One growing image. Cuts must come in ascending order.
class Replay {
 public:
  /// `folder`: where its image lies. `atom_bytes`: what the device writes in one piece, 512 or a multiple.
  [[nodiscard]] static Result<Replay> begin(const WriteLog& log, const std::filesystem::path& folder,
                                            std::uint64_t size_bytes, std::uint32_t atom_bytes);
  /// Makes the image of a device after the cut at `file`, in place of what is there.
  [[nodiscard]] Status make(const Cut& cut, const std::filesystem::path& file);

 private:
  Replay(const WriteLog& log, std::uint64_t size_bytes, std::uint32_t atom_bytes)
      : log_(&log), size_bytes_(size_bytes), atom_bytes_(atom_bytes) {}
  [[nodiscard]] Status copy_to(const Fd& target) const;
  [[nodiscard]] Status keep_some(const Fd& target, const Cut& cut) const;

  const WriteLog* log_;
  std::uint64_t size_bytes_;
  std::uint32_t atom_bytes_;
  Fd image_;                 ///< what is flushed
  std::size_t flushed_ = 0;  ///< records that it holds
};

}  // namespace sbench::crash
