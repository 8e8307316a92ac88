// image_builder.h: collects one layer's entries; used by image.cpp alone.
#pragma once

#include <string>
#include <vector>

#include "drivers/base/rng.h"
#include "workloads/content/image.h"

namespace sbench {

/// Where a part of a layer's files lives and what they look like.
struct Area {
  const char* folder;       ///< below the root
  const char* suffix;       ///< of every file name
  unsigned share_permille;  ///< of the layer's files
  double median_bytes;      ///< of the log-normal sizes, before scaling to the layer's total
  double sigma;
  unsigned compressible_percent;
  std::uint32_t mode;
  unsigned files_per_folder;  ///< 0: all in `folder`; else spread over sub-folders of this many
  unsigned folder_depth;      ///< levels of sub-folders
};

class ImageBuilder {
 public:
  explicit ImageBuilder(const LayerSpec& spec);

  Rng& rng() { return rng_; }
  /// Adds a regular file whose size is final (not scaled).
  ImageEntry& add_file(const std::string& path, std::uint64_t size_bytes, std::uint32_t mode = 0644);
  void add_folder(const std::string& path, std::uint32_t mode = 0755);
  void add_symlink(const std::string& path, const std::string& target);
  /// `target` sorts before `path` and is a file of this layer.
  void add_hard_link(const std::string& path, const std::string& target);
  void remove(const std::string& path);
  /// Fills the areas with `files` files whose sizes sum up to about `bytes`;
  /// returns their paths in the order they were made.
  std::vector<std::string> fill_areas(const std::vector<Area>& areas, std::uint64_t files, std::uint64_t bytes);
  /// Adds missing ancestors (with the owner and mode that `below` has for them), sorts and counts.
  ImageLayer finish(const MergedImage& below = {});

 private:
  ImageEntry& entry(const std::string& path, std::uint32_t mode);
  void add_ancestors(const std::string& path, const MergedImage& below);
  [[nodiscard]] std::string word(std::size_t syllables);
  std::vector<std::string> place_files(const Area& area, std::uint64_t count);

  LayerSpec spec_;
  Rng rng_;
  std::map<std::string, ImageEntry> entries_;
  std::vector<std::string> deletions_;
};

}  // namespace sbench
