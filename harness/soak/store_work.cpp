#include "harness/soak/store_work.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <chrono>
#include <optional>
#include <sstream>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/rng.h"
#include "harness/session.h"
#include "harness/store.h"

namespace sbench::soak {
namespace {

constexpr auto kTimeLimit = std::chrono::seconds(5);
constexpr unsigned kRecordsPerLayer = 40;
constexpr unsigned kRecordsPerFile = 5;  ///< every fifth record is a file of its own as well
constexpr std::size_t kRecordBytes = 3000;
constexpr std::size_t kImageFileBytes = 200'000;
constexpr int kPatience_ms = 15'000;

std::string content(std::uint64_t seed, const std::string& name, std::size_t bytes) {
  Rng rng(seed, name);
  std::string text(bytes, '\0');
  for (std::size_t at = 0; at < bytes; ++at) {
    text[at] = static_cast<char>('a' + rng.below(26));
  }
  return text;
}

std::string record(std::uint64_t seed, unsigned number) {
  return content(seed, fmt::format("record {}", number), kRecordBytes);
}
std::string image_file(std::uint64_t seed) { return content(seed, "image", kImageFileBytes); }
std::string key_of(unsigned layer) { return fmt::format("container-{}", layer); }
std::string name_of(unsigned layer) { return fmt::format("image-{}", layer); }

Status write_synced(const Fd& fd, std::string_view data, const std::string& what) {
  SBENCH_TRY(write_all(fd.get(), data, what));
  return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error("cannot sync {}", what));
}

Status sync_directory(const std::filesystem::path& directory) {
  SBENCH_TRY_SET(const Fd fd, open_file(directory, O_RDONLY | O_DIRECTORY));
  return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error("cannot sync {}", directory.string()));
}

/// The device may still be in the hands of what a killed process left to the kernel.
Result<std::unique_ptr<Device>> open_device(const std::string& path) {
  auto device = Device::open_real(path);
  for (int waited_ms = 0; !device.ok() && device.error().code == EBUSY && waited_ms < kPatience_ms; waited_ms += 10) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    device = Device::open_real(path);
  }
  return device;
}

class Writer {
 public:
  Writer(const StoreWork& work, Driver& driver, Fd notes) : work_(work), driver_(driver), notes_(std::move(notes)) {}

  Status write() {
    SBENCH_TRY(make_image());
    unsigned layer = 0;
    const auto until = std::chrono::steady_clock::now() + kTimeLimit;  // a slow store shows as much with fewer records
    for (unsigned number = 0; number < work_.records && std::chrono::steady_clock::now() < until; ++layer) {
      SBENCH_TRY(driver_.prepare(key_of(layer), name_of(layer)));
      SBENCH_TRY(driver_.sync());  // a synced file stays in a layer that stays
      SBENCH_TRY(note(fmt::format("container {}", layer)));
      SBENCH_TRY(write_layer(layer, number));
      SBENCH_TRY(driver_.commit(name_of(layer + 1), key_of(layer)));
      SBENCH_TRY(driver_.sync());
      SBENCH_TRY(note(fmt::format("layer {}", layer + 1)));
    }
    return {};
  }

 private:
  Status make_image() {
    SBENCH_TRY(driver_.prepare("base", {}));
    {
      SBENCH_TRY_SET(const Mount mount, driver_.mount("base"));
      SBENCH_TRY_SET(const Fd log, open_file(mount.path() / "log", O_WRONLY | O_CREAT));
      SBENCH_TRY(write_synced(log, image_file(work_.seed), "the log of the image"));
    }
    SBENCH_TRY(driver_.commit(name_of(0), "base"));
    SBENCH_TRY(driver_.sync());
    return note("layer 0");
  }

  Status write_layer(unsigned layer, unsigned& number) {
    SBENCH_TRY_SET(const Mount mount, driver_.mount(key_of(layer)));
    SBENCH_TRY_SET(const Fd log, open_file(mount.path() / "log", O_WRONLY | O_APPEND));
    const auto until = std::chrono::steady_clock::now() + kTimeLimit;
    for (unsigned i = 0; i < kRecordsPerLayer && number < work_.records && std::chrono::steady_clock::now() < until;
         ++i, ++number) {
      const std::string text = record(work_.seed, number);
      SBENCH_TRY(write_synced(log, text, "the log"));
      SBENCH_TRY(note(fmt::format("record {}", number)));
      if (number % kRecordsPerFile == 0) {
        const std::string name = fmt::format("file-{}", number);
        SBENCH_TRY_SET(const Fd file, open_file(mount.path() / name, O_WRONLY | O_CREAT));
        SBENCH_TRY(write_synced(file, text, name));
        SBENCH_TRY(sync_directory(mount.path()));
        SBENCH_TRY(note(fmt::format("file {}", number)));
      }
    }
    return {};
  }

  Status note(const std::string& what) { return write_all(notes_.get(), what + "\n", "the acknowledgements"); }

  const StoreWork& work_;
  Driver& driver_;
  Fd notes_;
};

struct Acknowledged {
  std::optional<unsigned> layer;
  std::optional<unsigned> container;
  std::optional<unsigned> record;
  bool in_container = false;  ///< a record was, in the latest container
  std::vector<unsigned> files;
  std::uint64_t count = 0;
};

Result<Acknowledged> read_notes(const std::filesystem::path& path) {
  SBENCH_TRY_SET(const std::string text, read_text(path));
  Acknowledged found;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line) && !lines.eof(); ++found.count) {  // a torn one says nothing
    const auto number = static_cast<unsigned>(std::stoul(line.substr(line.find(' ') + 1)));
    if (line.starts_with("layer")) {
      found.layer = number;
    } else if (line.starts_with("container")) {
      found.container = number;
      found.in_container = false;
    } else if (line.starts_with("record")) {
      found.record = number;
      found.in_container = true;
    } else {
      found.files.push_back(number);
    }
  }
  return found;
}

/// fuse-overlayfs shows a copy of a lower file before it is on the device: when the first fsync(2) in a container fails,
/// what the image had may be gone there, and is in the image still. Kernel overlayfs and our engines sync their copies.
bool shows_unsynced_copies(const std::string& driver) { return parse_variant(driver).spec->name == "fuse-overlayfs"; }

/// The layer that shows the latest content: the container, if `container` allows it, or one made now on the last image.
Result<std::string> latest_layer(Driver& driver, const Acknowledged& acknowledged, bool container) {
  SBENCH_TRY_SET(const auto layers, driver.list());
  const auto has = [&](const std::string& id) {
    return std::any_of(layers.begin(), layers.end(), [&](const auto& layer) { return layer.first == id; });
  };
  unsigned last = *acknowledged.layer;
  for (unsigned layer = 0; layer <= last; ++layer) {
    if (!has(name_of(layer))) {
      return make_error(EBADMSG, "the layer {}, acknowledged by sync(), is not there", name_of(layer));
    }
  }
  last += has(name_of(last + 1)) ? 1 : 0;  // committed, and ended before that was said
  if (container && acknowledged.container == last && has(key_of(last))) {
    return key_of(last);
  }
  if (!has("look")) {  // an earlier check's, which was killed, does as well
    SBENCH_TRY(driver.prepare("look", name_of(last)));
  }
  return std::string("look");
}

Status compare(const std::filesystem::path& path, const std::string& wanted) {
  const auto found = read_text(path);
  if (!found.ok()) {
    return make_error(EBADMSG, "acknowledged content cannot be read: {}", found.error().what);
  }
  if (found->size() < wanted.size()) {
    return make_error(EBADMSG, "{} has {} bytes, {} were acknowledged", path.filename().string(), found->size(),
                      wanted.size());
  }
  const auto differs = std::mismatch(wanted.begin(), wanted.end(), found->begin());
  if (differs.first != wanted.end()) {
    return make_error(EBADMSG, "{} differs from what was acknowledged at byte {}", path.filename().string(),
                      differs.first - wanted.begin());
  }
  return {};
}

}  // namespace

Status write_store(const StoreWork& work) {
  const Variant variant = parse_variant(work.driver);
  SBENCH_TRY_SET(const auto session, Session::enter());
  SBENCH_TRY_SET(const auto device, open_device(work.device));
  SBENCH_TRY(device->discard_all());
  SBENCH_TRY(variant.spec->format(*device, variant.options));
  SBENCH_TRY_SET(const auto root, session->make_root("store"));
  SBENCH_TRY_SET(const auto store, Store::open(*device, variant, root));
  SBENCH_TRY_SET(Fd notes, open_file(work.written, O_WRONLY | O_CREAT | O_APPEND));
  return Writer(work, store->driver(), std::move(notes)).write();
}

Result<std::uint64_t> check_store(const StoreWork& work) {
  if (!std::filesystem::exists(work.written)) {
    return std::uint64_t{0};
  }
  SBENCH_TRY_SET(const auto acknowledged, read_notes(work.written));
  if (!acknowledged.layer) {
    return std::uint64_t{0};
  }
  const Variant variant = parse_variant(work.driver);
  SBENCH_TRY_SET(const auto session, Session::enter());
  SBENCH_TRY_SET(const auto device, open_device(work.device));
  SBENCH_TRY_SET(const auto root, session->make_root("store"));
  SBENCH_TRY_SET(const auto store, Store::open(*device, variant, root));
  const bool container = acknowledged.in_container || !shows_unsynced_copies(work.driver);
  SBENCH_TRY_SET(const auto id, latest_layer(store->driver(), acknowledged, container));
  SBENCH_TRY_SET(const Mount mount, store->driver().mount(id));
  std::string log = image_file(work.seed);
  for (unsigned number = 0; acknowledged.record && number <= *acknowledged.record; ++number) {
    log += record(work.seed, number);
  }
  SBENCH_TRY(compare(mount.path() / "log", log));
  for (const unsigned number : acknowledged.files) {
    SBENCH_TRY(compare(mount.path() / fmt::format("file-{}", number), record(work.seed, number)));
  }
  return acknowledged.count;
}

}  // namespace sbench::soak
