// driver.h: what a storage driver is. Read this page first.
//
// A driver stores *layers* on one block device and shows stacks of them as
// directory trees. It knows nothing of benchmarking.
//
// Glossary, one word for one meaning throughout sbench:
//   layer       a set of changes to a file tree, stacked on its parent layer
//   parent      the committed layer a layer was prepared on; a base layer has none
//   active      a layer being written (a container's writable layer, a build step)
//   committed   a frozen layer; only committed layers are parents
//   key, name   the id of an active layer; the id of a committed one
//   merged      the tree a stack of layers shows when it is mounted
//   lower/upper a read-only layer below; the writable layer on top (union drivers)
//   whiteout    a mark in an upper layer that hides a lower entry
//   opaque      a directory in an upper layer that hides all lower entries of that directory
//   copy-up     copying lower data into the upper layer at the first write to it
//   store       everything a driver keeps on its device
//   engine      who does the work: a kernel facility, or a user-space implementation of ours
//
// How it is used:
//   Pull an image        prepare("x1", none); apply("x1", tar); commit("base", "x1");
//                        prepare("x2", "base"); apply("x2", tar2); commit("app", "x2")
//   Build one step       prepare("step", "app"); { auto m = mount("step"); write below m.path(); }
//                        diff("step", "app", sink); commit("app2", "step")
//   Run a container      prepare("c1", "app2"); { auto m = mount("c1"); work in m.path(); } remove("c1")
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/change.h"

namespace sbench {

class Device;

/// A layer's id: [a-zA-Z0-9][a-zA-Z0-9_.-]*, at most 128 characters.
using LayerId = std::string;
/// Nothing, or the id of a committed layer.
using ParentId = std::optional<LayerId>;

/// Space a layer occupies on its own: what removing it would give back.
struct Usage {
  std::uint64_t bytes_allocated = 0;
  std::uint64_t inodes = 0;  ///< 0 where the file system has no inode accounting
};

/// A mounted tree. Move-only; leaving scope releases it. Mounts of one layer
/// share one underlying mount, which goes away with the last of them. A mount
/// that stood before this process came (`sbench layer mount`) is adopted:
/// only an explicit release() takes it down.
class Mount {
 public:
  using Release = std::function<Status()>;
  Mount(std::filesystem::path path, Release release, bool adopted = false)
      : path_(std::move(path)), release_(std::move(release)), adopted_(adopted) {}
  Mount(Mount&& other) noexcept;
  Mount& operator=(Mount&& other) noexcept;
  ~Mount();

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  /// Unmounts now and reports what that said; afterwards the object is empty.
  [[nodiscard]] Status release();
  /// Leaves the tree mounted after this object, and this process, are gone.
  void detach();

 private:
  std::filesystem::path path_;
  Release release_;
  bool adopted_ = false;
};

/// Positive facts about a driver that callers may rely on.
struct Capabilities {
  bool stores_layers = true;     ///< false: only `null`, which keeps nothing
  bool native_diff = false;      ///< diff and changes read the layer alone, not the whole tree
  bool copies_whole_file = false;  ///< a first write to a lower file copies all of it
  bool copies_at_prepare = false;  ///< prepare() copies the parent, so first writes are free
  bool shares_page_cache = false;  ///< containers of one image share cached file pages
  int depth_layers_max = 0;      ///< deepest stack, 0 for no limit of the driver's own
};

/// An open store. One thread at a time, unless a driver's own page says more.
/// Destroying it releases its mounts (not adopted or detached ones), unmounts
/// its backing file system and leaves the device clean.
class Driver {
 public:
  virtual ~Driver() = default;

  /// New active layer `key` on `parent`. EEXIST when the id is taken, ENOENT
  /// when the parent is missing, EINVAL when it is not committed.
  [[nodiscard]] virtual Status prepare(const LayerId& key, const ParentId& parent) = 0;
  /// Freezes active `key` as committed `name`. EBUSY while it is mounted.
  [[nodiscard]] virtual Status commit(const LayerId& name, const LayerId& key) = 0;
  /// Deletes a layer. EBUSY while it is mounted; ENOTEMPTY while it has children.
  [[nodiscard]] virtual Status remove(const LayerId& id) = 0;
  /// Merged tree of a layer: writable when active, not to be written when committed.
  [[nodiscard]] virtual Result<Mount> mount(const LayerId& id) = 0;
  /// Unpacks an uncompressed OCI layer tar into active `key`; nothing outside
  /// the layer's root is touched whatever the tar says. Returns the bytes of
  /// file content unpacked. On error the layer's content is unspecified; remove it.
  [[nodiscard]] virtual Result<std::uint64_t> apply(const LayerId& key, ByteSource& tar) = 0;
  /// Writes what `id` changed relative to `parent` as an OCI layer tar with `.wh.` whiteouts.
  [[nodiscard]] virtual Status diff(const LayerId& id, const ParentId& parent, ByteSink& tar) = 0;
  /// The same as a list, sorted by path.
  [[nodiscard]] virtual Result<std::vector<Change>> changes(const LayerId& id, const ParentId& parent) = 0;
  /// Space exclusive to the layer.
  [[nodiscard]] virtual Result<Usage> usage(const LayerId& id) = 0;
  /// Space of the whole store, every layer and the driver's own metadata included.
  [[nodiscard]] virtual Result<Usage> store_usage() = 0;
  /// When it returns, everything acknowledged before is on the device.
  [[nodiscard]] virtual Status sync() = 0;
  /// Diagnostics for people, in display order: backing file system, features, limits.
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> status() = 0;

  [[nodiscard]] virtual Capabilities capabilities() const = 0;
  /// All layers with their parents, sorted by id.
  [[nodiscard]] virtual Result<std::vector<std::pair<LayerId, ParentId>>> list() = 0;
};

/// Which implementation does the storing. Times are ranked within one class only.
enum class EngineClass { kernel, uml, userspace };
[[nodiscard]] const char* to_string(EngineClass engine);

/// One option of a driver, under Docker's name where Docker has one.
struct OptionSpec {
  std::string name;
  std::string default_value;
  std::string help;
  std::vector<std::string> allowed;  ///< empty: any value; the driver checks it
};

/// Option name → value; parse_options() fills in every default.
using Options = std::map<std::string, std::string>;

/// Whether a driver can run here. When not, both texts are filled: why, and what would help.
struct Availability {
  bool available = false;
  EngineClass engine = EngineClass::kernel;
  std::string reason;
  std::string remedy;

  [[nodiscard]] static Availability yes(EngineClass engine = EngineClass::kernel) { return {true, engine, {}, {}}; }
  [[nodiscard]] static Availability no(std::string reason, std::string remedy, EngineClass engine = EngineClass::kernel) {
    return {false, engine, std::move(reason), std::move(remedy)};
  }
};

/// One operation's times with and without FUSE between it and the engine.
struct FuseCost {
  std::string operation;
  std::vector<double> in_process_us;  ///< an operation's mean time in each turn
  std::vector<double> mounted_us;     ///< as many
};

/// A kind of driver, before a store is made.
struct DriverSpec {
  std::string name;
  std::string summary;  ///< one line
  std::string engines_differ;  ///< why the device bytes of its own engine are not the real one's, for reports; "": nothing to say
  std::vector<OptionSpec> options;
  Capabilities capabilities;  ///< with default options; shown by `sbench list`

  /// Cheap; needs no device and changes nothing that outlives the call.
  std::function<Availability(const Options&)> probe;
  /// Makes an empty store, overwriting the device. Guards are the caller's (block/guard.h).
  std::function<Status(Device&, const Options&)> format;
  /// Opens a formatted store. `root` is an empty directory for the driver's own
  /// mounts; when its backing file system is already mounted there (by
  /// `sbench layer mount`), it is adopted and left in place.
  std::function<Result<std::unique_ptr<Driver>>(Device&, const Options&, const std::filesystem::path& root)> open;
  /// What FUSE itself costs the engine that these options choose, measured now, without a device; `folder` is an empty
  /// directory for its mount. Empty for an engine without FUSE, or that is not ours to use without it. Null: no engine is.
  std::function<Result<std::vector<FuseCost>>(const Options&, const std::filesystem::path& folder)> fuse_cost;
};

/// Every driver sbench knows, in display order, whether or not it can run here.
[[nodiscard]] const std::vector<DriverSpec>& driver_registry();

/// The spec named `name`. Throws UsageError listing the known names.
[[nodiscard]] const DriverSpec& find_driver(const std::string& name);

/// `given` checked against the spec's options and completed with its defaults.
/// Throws UsageError naming the option, its driver and what is allowed.
[[nodiscard]] Options complete_options(const DriverSpec& spec, const Options& given);

}  // namespace sbench
