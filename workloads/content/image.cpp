#include "workloads/content/image.h"

#include <sys/stat.h>

#include <memory>
#include <mutex>

#include "drivers/base/check.h"
#include "drivers/base/units.h"
#include "workloads/content/base_image.h"
#include "workloads/content/image_builder.h"

namespace sbench {
namespace {

constexpr std::uint64_t kBaseBytes = 118 * kMiB;  // about 120 with the named files
constexpr std::uint64_t kBaseFiles = 3200;
constexpr std::uint64_t kPackagesBytes = 39 * kMiB;
constexpr std::uint64_t kPackagesFiles = 1100;
constexpr std::uint64_t kDependenciesBytes = 20 * kMiB;
constexpr std::uint64_t kDependenciesFiles = 1800;
constexpr std::uint64_t kCodeBytes = 300 * kKiB;
constexpr std::uint64_t kCodeFiles = 50;

std::uint64_t divisor(ImageScale scale) {
  switch (scale) {
    case ImageScale::tiny:
      return 40;
    case ImageScale::small:
      return 10;
    case ImageScale::full:
      return 1;
  }
  return 1;
}

//                  folder                          suffix       ‰    median  sigma  compr mode  per folder, depth
const std::vector<Area> kBaseAreas = {
    {"usr/bin", "", 80, 40e3, 1.2, 55, 0755, 0, 0},
    {"usr/sbin", "", 30, 45e3, 1.1, 55, 0755, 0, 0},
    {"usr/lib/x86_64-linux-gnu", ".so.1", 90, 90e3, 1.5, 55, 0644, 0, 0},
    {"usr/lib/x86_64-linux-gnu/gconv", ".so", 100, 16e3, 0.9, 60, 0644, 0, 0},
    {"usr/share/doc", "", 140, 2e3, 1.1, 60, 0644, 3, 1},
    {"usr/share/locale", ".mo", 120, 12e3, 1.2, 50, 0644, 12, 2},
    {"usr/share/zoneinfo", "-zone", 140, 1.2e3, 0.6, 40, 0644, 30, 2},
    {"usr/share/perl5", ".pm", 100, 6e3, 1.2, 65, 0644, 8, 6},
    {"var/lib/dpkg/info", ".list", 140, 600, 1.2, 70, 0644, 0, 0},
    {"etc", ".conf", 60, 800, 1.2, 60, 0644, 5, 3},
};
const std::vector<Area> kPackagesAreas = {
    {"usr/bin", "-tool", 60, 60e3, 1.3, 55, 0755, 0, 0},
    {"usr/lib/x86_64-linux-gnu", ".so.3", 120, 110e3, 1.4, 55, 0644, 0, 0},
    {"usr/lib/python3", ".py", 420, 9e3, 1.1, 65, 0644, 18, 4},
    {"usr/include", ".h", 220, 5e3, 1.1, 70, 0644, 25, 3},
    {"usr/share/doc", ".gz", 100, 3e3, 1.1, 0, 0644, 2, 1},
    {"var/lib/dpkg/info", ".md5sums", 80, 900, 1.1, 40, 0644, 0, 0},
};
const std::vector<Area> kDependenciesAreas = {
    {"opt/venv/lib/site-packages", ".py", 480, 5e3, 1.2, 65, 0644, 14, 6},
    {"opt/venv/lib/site-packages", ".pyc", 420, 6e3, 1.2, 45, 0644, 14, 5},
    {"opt/venv/lib/site-packages", ".txt", 80, 1.5e3, 1.0, 60, 0644, 3, 1},
    {"opt/venv/lib/site-packages", ".so", 20, 250e3, 0.9, 55, 0755, 2, 2},
};
const std::vector<Area> kCodeAreas = {
    {"srv/app/src", ".py", 700, 3e3, 1.0, 65, 0644, 8, 3},
    {"srv/app/static", ".js", 200, 12e3, 1.0, 60, 0644, 5, 1},
    {"srv/app/templates", ".html", 100, 4e3, 0.8, 70, 0644, 0, 0},
};

/// struct vfs_cap_data, revision 2: cap_net_raw permitted and effective (capabilities(7)).
std::string net_raw_capability() {
  return std::string("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", 20);
}

void add_base_names(ImageBuilder& builder, std::uint64_t divided_by) {
  for (const char* folder : {"boot", "dev", "home", "mnt", "opt", "proc", "run", "srv", "sys"}) {
    builder.add_folder(folder);
  }
  builder.add_folder("tmp", 01777);
  builder.add_folder("var/tmp", 01777);
  builder.add_folder("root", 0700);
  for (const char* merged : {"bin", "lib", "sbin"}) {
    builder.add_symlink(merged, std::string("usr/") + merged);
  }
  builder.add_symlink("etc/os-release", "../usr/lib/os-release");
  builder.add_file("usr/lib/os-release", 267);
  for (const char* program : {"chfn", "chsh", "gpasswd", "mount", "newgrp", "passwd", "su", "umount"}) {
    builder.add_file(std::string("usr/bin/") + program, 58 * kKiB, 04755);
  }
  builder.add_file("usr/bin/wall", 35 * kKiB, 02755).gid = 5;
  builder.add_file("usr/bin/ping", 88 * kKiB, 0755).xattrs["security.capability"] = net_raw_capability();
  builder.add_file("usr/share/sbench/origin", 400).xattrs["user.sbench.origin"] = "synthetic";
  builder.add_file(std::string(kSentinelPath), 64 * kKiB);
  builder.add_file("usr/bin/perl", 370 * kKiB, 0755);
  builder.add_hard_link("usr/bin/perl5.36.0", "usr/bin/perl");
  builder.add_file("usr/bin/gunzip", 2346, 0755);
  builder.add_hard_link("usr/bin/uncompress", "usr/bin/gunzip");
  builder.add_file("etc/shadow", 474, 0640).gid = 42;
  builder.add_file("var/lib/dpkg/status", 4 * kMiB / 40 / divided_by + 4000);
  builder.add_file("var/lib/dpkg/status-old", 4 * kMiB / 40 / divided_by + 3900);
  builder.add_file("var/cache/apt/pkgcache.bin", kMiB / divided_by).compressible_percent = 75;
  builder.add_file("var/log/dpkg.log", 60 * kKiB).compressible_percent = 75;
  builder.add_file("etc/ld.so.cache", 6 * kKiB);
  for (const char* list : {"main", "security", "updates"}) {
    builder.add_file(std::string("var/lib/apt/lists/") + list, kMiB / 4 / divided_by);
  }
}

ImageLayer make_base(const LayerSpec& spec) {
  ImageBuilder builder(spec);
  const std::uint64_t by = divisor(spec.scale);
  add_base_names(builder, by);
  const auto paths = builder.fill_areas(kBaseAreas, kBaseFiles / by, kBaseBytes / by);
  for (const auto& path : paths) {
    if (path.starts_with("usr/lib/x86_64-linux-gnu/") && path.ends_with(".so.1")) {
      builder.add_symlink(path + ".0", path.substr(path.rfind('/') + 1));
    }
    if (path.starts_with("usr/share/zoneinfo/") && builder.rng().below(8) == 0) {
      builder.add_hard_link(path + "_alias", path);
    }
    if (path.starts_with("usr/share/doc/") && builder.rng().below(4) == 0) {
      builder.add_symlink(path + ".changelog", path.substr(path.rfind('/') + 1));
    }
  }
  return builder.finish();
}

/// What the steps above stand on.
MergedImage base_tree(const LayerSpec& spec) {
  if (spec.image != nullptr) {
    return merge_layers(spec.image->all_layers());
  }
  return merge_layers({&image_layer({.seed = spec.seed, .scale = spec.scale, .step = LayerStep::base})});
}

/// finish(), with the owners and modes of folders that a real image below has.
ImageLayer finish_above(ImageBuilder& builder, const LayerSpec& spec) {
  return builder.finish(spec.image == nullptr ? MergedImage() : base_tree(spec));
}

ImageLayer make_packages(const LayerSpec& spec) {
  ImageBuilder builder(spec);
  const MergedImage below = base_tree(spec);
  const std::uint64_t by = divisor(spec.scale);
  builder.fill_areas(kPackagesAreas, kPackagesFiles / by, kPackagesBytes / by);
  builder.add_file("var/lib/dpkg/status", 6 * kMiB / 40 / by + 4000);
  builder.add_file("var/lib/dpkg/status-old", 4 * kMiB / 40 / by + 4000);
  builder.add_file("var/log/dpkg.log", 90 * kKiB).compressible_percent = 75;
  builder.add_file("etc/ld.so.cache", 9 * kKiB);
  for (const char* path : {"var/cache/apt/pkgcache.bin", "var/lib/apt/lists"}) {
    if (below.contains(path)) {
      builder.remove(path);
    }
  }
  unsigned libraries = 0;
  unsigned documents = 0;
  for (const auto& [path, entry] : below) {
    const bool plain = S_ISREG(entry->mode) && entry->hard_link_target.empty();
    if (plain && path.starts_with("usr/lib/x86_64-linux-gnu/gconv/") && libraries < 8) {
      builder.add_file(path, entry->size_bytes + 512);  // upgraded
      ++libraries;
    } else if (plain && path.starts_with("usr/share/locale/") && documents < 20 && builder.rng().below(2) == 0) {
      builder.remove(path);
      ++documents;
    }
  }
  return finish_above(builder, spec);
}

ImageLayer make_dependencies(const LayerSpec& spec) {
  ImageBuilder builder(spec);
  const std::uint64_t by = divisor(spec.scale);
  builder.fill_areas(kDependenciesAreas, kDependenciesFiles / by, kDependenciesBytes / by);
  builder.add_symlink("opt/venv/lib64", "lib");
  builder.add_file("opt/venv/pyvenv.cfg", 120);
  return finish_above(builder, spec);
}

ImageLayer make_code(const LayerSpec& spec) {
  ImageBuilder builder(spec);
  builder.fill_areas(kCodeAreas, kCodeFiles, kCodeBytes);
  return finish_above(builder, spec);
}

ImageLayer make_layer(const LayerSpec& spec) {
  switch (spec.step) {
    case LayerStep::base:
      return make_base(spec);
    case LayerStep::packages:
      return make_packages(spec);
    case LayerStep::dependencies:
      return make_dependencies(spec);
    case LayerStep::code:
      return make_code(spec);
    case LayerStep::config:
      return ImageBuilder(spec).finish();
  }
  SBENCH_CHECK(!"a known step");
  return {};
}

}  // namespace

ImageScale parse_image_scale(std::string_view name) {
  for (const auto scale : {ImageScale::tiny, ImageScale::small, ImageScale::full}) {
    if (name == to_string(scale)) {
      return scale;
    }
  }
  SBENCH_CHECK(!"workloads declare only known image scales");
  return ImageScale::tiny;
}

const char* to_string(ImageScale scale) {
  switch (scale) {
    case ImageScale::tiny:
      return "tiny";
    case ImageScale::small:
      return "small";
    case ImageScale::full:
      return "full";
  }
  return "?";
}

const char* to_string(LayerStep step) {
  switch (step) {
    case LayerStep::base:
      return "base";
    case LayerStep::packages:
      return "packages";
    case LayerStep::dependencies:
      return "dependencies";
    case LayerStep::code:
      return "code";
    case LayerStep::config:
      return "config";
  }
  return "?";
}

const ImageLayer& image_layer(const LayerSpec& spec) {
  if (spec.image != nullptr && spec.step == LayerStep::base) {
    return *spec.image->layers.at(spec.level);
  }
  static std::recursive_mutex mutex;  // the packages layer asks for the base layer
  static std::map<LayerSpec, std::unique_ptr<const ImageLayer>> made;
  const std::lock_guard lock(mutex);
  auto& place = made[spec];
  if (place == nullptr) {
    place = std::make_unique<const ImageLayer>(make_layer(spec));
  }
  return *place;
}

namespace {

void erase_below(MergedImage& merged, const std::string& path) {
  merged.erase(merged.lower_bound(path + "/"), merged.lower_bound(path + "0"));  // '0' follows '/'
}

}  // namespace

MergedImage merge_layers(const std::vector<const ImageLayer*>& layers) {
  MergedImage merged;
  for (const auto* layer : layers) {
    for (const auto& path : layer->deletions) {
      erase_below(merged, path);
      merged.erase(path);
    }
    for (const auto& path : layer->opaques) {
      erase_below(merged, path);
    }
    for (const auto& entry : layer->entries) {
      if (!S_ISDIR(entry.mode)) {
        const auto replaced = merged.find(entry.path);
        if (replaced != merged.end() && S_ISDIR(replaced->second->mode)) {
          erase_below(merged, entry.path);
        }
      }
      merged[entry.path] = &entry;
    }
  }
  return merged;
}

}  // namespace sbench
