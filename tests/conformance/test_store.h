// test_store.h: a driver's store on an image of its own, for one test.
//
// Everything lives in a private mount namespace: mount points stand on a tmpfs
// that only this process sees, the image has no name, the loop device clears
// itself. A test that dies leaves nothing behind.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>

#include "drivers/backing/backing.h"
#include "drivers/backing/mount_point.h"
#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/block/device.h"
#include "drivers/driver.h"
#include "tests/support/must.h"

namespace sbench::test {

/// A driver with options: "overlay2:backing=xfs".
struct Variant {
  std::string driver;
  Options given;

  const DriverSpec& spec() const { return find_driver(driver); }
  Options options() const { return complete_options(spec(), given); }
  std::string name() const {
    std::string text = driver;
    for (const auto& [option, value] : given) {
      text += ":" + option + "=" + value;
    }
    return text;
  }
  /// The name with nothing that a test's name must not have.
  std::string test_name() const {
    std::string text = name();
    for (auto& c : text) {
      c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
    }
    return text;
  }
};

inline void PrintTo(const Variant& variant, std::ostream* out) { *out << variant.name(); }

/// Moves this process into a mount namespace of its own, with a tmpfs on /mnt. Once is enough.
inline void enter_private_mounts() {
  static const bool entered = [] {
    return ::unshare(CLONE_NEWNS) == 0 && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
           ::mount("sbench-test", "/mnt", "tmpfs", 0, "mode=0755") == 0;
  }();
  ASSERT_TRUE(entered) << "cannot make a private mount namespace";
}

class TestStore {
 public:
  explicit TestStore(Variant variant, std::uint64_t size_bytes = kGiB, std::filesystem::path root = {})
      : variant_(std::move(variant)), root_(std::move(root)) {
    enter_private_mounts();
    if (root_.empty()) {
      static int serial = 0;
      root_ = fmt::format("/mnt/store-{}", serial++);
    }
    std::filesystem::create_directories(root_);
    device_ = must(Device::make_image("/var/tmp", size_bytes));
    must(variant_.spec().format(*device_, variant_.options()));
    open();
  }

  void open() { driver_ = must(variant_.spec().open(*device_, variant_.options(), root_)); }
  void close() { driver_.reset(); }
  void reopen() {
    close();
    open();
  }

  /// The closed store's backing file system, mounted, to look at or to damage.
  Backing mount_backing() {
    const auto options = variant_.options();
    const auto type = options.contains("backing") ? parse_backing(options) : BackingType::btrfs;
    return must(Backing::mount(*device_, type, root_));
  }

  /// Where the open store has its LayerTable.
  std::filesystem::path tables() const {
    const auto below = root_ / "store" / "table";  // devicemapper keeps a file system for its tables
    return ::access(below.c_str(), F_OK) == 0 ? below : root_ / "table";
  }

  Driver& driver() { return *driver_; }
  Device& device() { return *device_; }
  const Variant& variant() const { return variant_; }
  const std::filesystem::path& root() const { return root_; }

 private:
  Variant variant_;
  std::filesystem::path root_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<Driver> driver_;
};

inline void write_file(const std::filesystem::path& path, std::string_view text) {
  const Fd fd = must(open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  must(write_all(fd.get(), text, path.string()));
}

inline std::string read_file(const std::filesystem::path& path) { return must(read_text(path)); }

/// prepare, mount, let `work` write, unmount, commit under the same id.
template <typename Work>
void make_layer(Driver& driver, const LayerId& id, const ParentId& parent, Work&& work) {
  must(driver.prepare(id, parent));
  {
    auto tree = must(driver.mount(id));
    work(tree.path());
    must(tree.release());
  }
  must(driver.commit(id, id));
}

inline bool path_exists(const std::filesystem::path& path) { return ::access(path.c_str(), F_OK) == 0; }

/// Why tests of this variant cannot run here; empty when they can.
inline std::string reason_not_here(const Variant& variant) {
  if (::geteuid() != 0 || !may_mount()) {
    return "needs root";
  }
  if (!path_exists("/dev/loop-control")) {
    return "needs loop devices";
  }
  const auto availability = variant.spec().probe(variant.options());
  return availability.available ? "" : availability.reason + "; " + availability.remedy;
}

#define SBENCH_SKIP_UNLESS_AVAILABLE(variant)                                        \
  if (const auto reason = ::sbench::test::reason_not_here(variant); !reason.empty()) \
  GTEST_SKIP() << (variant).name() << ": " << reason

}  // namespace sbench::test
