#include "tests/crash/checker.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "drivers/backing/backing.h"
#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "drivers/block/device.h"
#include "drivers/block/direct_device.h"
#include "drivers/store_format.h"
#include "tests/crash/containers.h"

namespace sbench::crash {

namespace {

namespace fs = std::filesystem;

/// Files that come and go while others are made.
bool is_temporary(const std::string& path) {
  const auto ends_with = [&](std::string_view end) { return path.ends_with(end); };
  return path.starts_with("srv/tmp/") || path == "etc/.new" || ends_with(".db-wal") || ends_with(".db-shm") ||
         ends_with(".db-journal");
}

class Checking {
 public:
  Checking(const Checked& checked, const Expectation& expected) : checked_(checked), expected_(expected) {}

  std::vector<std::string> all(const fs::path& file) {
    auto device = Device::attach_image(file);
    if (!device.ok()) {
      find("{}", device.error().what);
      return findings_;
    }
    check_engine(**device, "after the power loss");
    auto driver = checked_.spec.open(**device, checked_.options, checked_.root);
    if (!driver.ok()) {
      find("the store does not open: {}", driver.error().what);
      return findings_;
    }
    check_layers(**driver);
    remove_unknown(**driver);
    go_on(**driver);
    driver->reset();
    check_backing(**device);
    check_engine(**device, "after it was used and closed");
    return findings_;
  }

 private:
  template <typename... Args>
  void find(fmt::format_string<Args...> format, Args&&... args) {
    findings_.push_back(fmt::format(format, std::forward<Args>(args)...));
  }
  bool works(const Status& status, const std::string& what) {
    if (!status.ok()) {
      find("{}: {}", what, status.error().what);
    }
    return status.ok();
  }

  void check_engine(Device& device, const char* when) {
    const auto io = DirectDevice::open(device.path());
    if (!io.ok()) {
      find("{}", io.error().what);
      return;
    }
    for (const auto& format : store_formats()) {
      if (format.recognises(**io)) {
        for (const auto& finding : format.check(**io).findings) {
          find("{} {}: {}", format.name, when, finding);
        }
      }
    }
  }

  void check_backing(Device& device) {
    const auto backing = checked_.options.find("backing");
    std::vector<std::string> command;
    if (checked_.spec.name == "btrfs" || (backing != checked_.options.end() && backing->second == "btrfs")) {
      command = {"btrfs", "check", "--readonly", device.path()};
    } else if (backing != checked_.options.end() && backing->second == "xfs") {
      command = {"xfs_repair", "-n", device.path()};
    } else if (backing != checked_.options.end() && backing->second == "ext4") {
      command = {"e2fsck", "-fn", device.path()};
    }
    if (command.empty()) {
      return;
    }
    const auto checked = run_program(command);
    if (!checked.ok() || checked->exit_code != 0) {
      find("{} says: {}", command[0],
           checked.ok() ? checked->stdout_text + checked->stderr_text : checked.error().what);
    }
  }

  void check_layers(Driver& driver) {
    const auto listed = driver.list();
    if (!listed.ok()) {
      find("the layers cannot be listed: {}", listed.error().what);
      return;
    }
    for (const auto& [id, parent] : *listed) {
      if (expected_.find(id) == nullptr) {
        find("layer {} is there, which nobody made or which is removed for good", id);
      }
    }
    for (const auto& layer : expected_.layers()) {
      std::vector<LayerId> there;
      for (const auto& [id, parent] : *listed) {
        if (layer->names.contains(id) && expected_.find(id) == layer) {
          there.push_back(id);
        }
      }
      if (there.size() > 1) {
        find("layer {} is there twice, as {} too", there[0], there[1]);
      }
      if (layer->required && there.empty()) {
        find("layer {} is not there, and a sync() acknowledged it", *layer->names.begin());
      }
      if (layer->required && !there.empty()) {
        check_content(driver, *layer, there[0], !layer->is_container || there[0] == "snap");
      }
      if (!layer->required) {
        unknown_.insert(unknown_.end(), there.begin(), there.end());
      }
    }
  }

  void check_content(Driver& driver, const LayerState& layer, const LayerId& id, bool is_committed) {
    // A database is looked at as its next user would, who plays its journal back: in a committed layer, from a layer on
    // it.
    const bool has_rows = std::any_of(layer.files.begin(), layer.files.end(),
                                      [](const auto& file) { return file.second.kind == FileKind::rows; });
    const LayerId shown = has_rows && is_committed ? "look" : id;
    if (shown != id && !works(driver.prepare(shown, id), "no layer can be made on " + id)) {
      return;
    }
    auto mount = driver.mount(shown);
    if (!mount.ok()) {
      find("layer {} does not mount: {}", shown, mount.error().what);
      return;
    }
    check_tree(layer, id, mount->path());
    works(mount->release(), "layer " + shown + " does not unmount");
    if (shown != id) {
      works(driver.remove(shown), "layer " + shown + " cannot be removed");
    }
  }

  void check_tree(const LayerState& layer, const LayerId& id, const fs::path& root) {
    const Manifest& image = layer.names.contains(kBaseLayer) ? checked_.image.base : checked_.image.app;
    for (const auto& [path, content] : image) {
      if (layer.files.contains(path)) {
        continue;
      }
      const auto found = read_text(root / path);
      if (!found.ok() || *found != content) {
        find("{}: {} of the image {}", id, path,
             found.ok() ? fmt::format("has other content, {} bytes instead of {}", found->size(), content.size())
                        : found.error().what);
      }
    }
    for (const auto& [path, state] : layer.files) {
      const auto in_image = image.find(path);
      const std::string wrong = compare_file(root, path, state, in_image == image.end() ? nullptr : &in_image->second,
                                             checked_.zeros_allowed);
      if (!wrong.empty()) {
        find("{}: {} ({}): {}", id, path, to_string(state.kind), wrong);
      }
    }
    check_no_others(layer, id, root, image);
  }

  void check_no_others(const LayerState& layer, const LayerId& id, const fs::path& root, const Manifest& image) {
    std::error_code error;
    for (fs::recursive_directory_iterator it(root, error), end; !error && it != end; it.increment(error)) {
      const std::string path = fs::relative(it->path(), root).string();
      if (it->is_directory(error) || image.contains(path) || layer.files.contains(path) || is_temporary(path) ||
          path.starts_with("lost+found")) {
        continue;
      }
      find("{}: {} is there, which was never made, or removed", id, path);
    }
    if (error) {
      find("{}: its tree cannot be read: {}", id, error.message());
    }
  }

  /// Children first: in whatever order that takes.
  void remove_unknown(Driver& driver) {
    std::string last;
    for (std::size_t left = unknown_.size() + 1; unknown_.size() < left;) {
      left = unknown_.size();
      std::erase_if(unknown_, [&](const LayerId& id) {
        const Status removed = driver.remove(id);
        last = removed.ok() ? last : removed.error().what;
        return removed.ok();
      });
    }
    for (const auto& id : unknown_) {
      find("layer {}, of which nothing is acknowledged, cannot be removed: {}", id, last);
    }
  }

  void go_on(Driver& driver) {
    const auto base = expected_.find(kBaseLayer);
    const bool on_base = base != nullptr && base->required && base->names.size() == 1;
    const std::string what = "the store does not go on working";
    if (!works(driver.prepare("after", on_base ? ParentId(kBaseLayer) : std::nullopt), what)) {
      return;
    }
    auto mount = driver.mount("after");
    if (!mount.ok()) {
      find("{}: {}", what, mount.error().what);
      return;
    }
    works(write_text_atomic(mount->path() / "after", "text"), what);
    works(mount->release(), what);
    works(driver.sync(), what);
    works(driver.remove("after"), what);
    works(driver.sync(), what);
  }

  const Checked& checked_;
  const Expectation& expected_;
  std::vector<std::string> findings_;
  std::vector<LayerId> unknown_;
};

}  // namespace

std::vector<std::string> check_after_power_loss(const Checked& checked, const fs::path& file,
                                                const Expectation& expected) {
  return Checking(checked, expected).all(file);
}

}  // namespace sbench::crash
