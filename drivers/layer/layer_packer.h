// layer_packer.h: what both differs share: putting paths of one tree into a layer tar.
//
// The root's own entry (`./`) leads every tar that holds anything else, so that
// unpacking restores the root's time; a tar of no changes is empty.
#pragma once

#include <filesystem>
#include <set>
#include <string>

#include "drivers/base/fd.h"
#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/tar_writer.h"

namespace sbench {

class LayerPacker {
 public:
  /// Packs files found below `root`.
  [[nodiscard]] static Result<LayerPacker> open(const std::filesystem::path& root, ByteSink& tar);

  /// Adds `path` from the tree, after those of its parents that were not added yet.
  /// EINVAL when its name would read as a whiteout.
  [[nodiscard]] Status add(const std::string& path);
  /// Adds the mark that deletes `path`, or with `opaque` the one that empties the directory `path`.
  [[nodiscard]] Status add_whiteout(const std::string& path, bool opaque = false);
  [[nodiscard]] Status finish() { return writer_->finish(); }

 private:
  LayerPacker(Fd root, ByteSink& tar) : root_(std::move(root)), writer_(std::make_unique<TarWriter>(tar)) {}
  [[nodiscard]] Status add_parents(const std::string& path);
  [[nodiscard]] Status add_one(const std::string& path);

  Fd root_;
  std::unique_ptr<TarWriter> writer_;
  TarWriter::HardLinks hard_links_;
  std::set<std::string> directories_;  ///< already in the tar
  Fd parent_;                          ///< the directory `parent_path_`, kept for its next file
  std::string parent_path_;
};

}  // namespace sbench
