#include "harness/layer_store.h"

#include <fcntl.h>
#include <sys/file.h>

#include <sstream>
#include <vector>

#include "drivers/base/durable.h"
#include "drivers/base/file.h"
#include "drivers/base/usage_error.h"
#include "drivers/block/guard.h"
#include "drivers/leftovers.h"
#include "harness/journal.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

Result<Fd> lock_store(const fs::path& directory) {
  SBENCH_TRY_SET(Fd lock, open_file(directory / "lock", O_RDWR | O_CREAT));
  if (::flock(lock.get(), LOCK_EX) != 0) {
    return errno_error("cannot lock {}", (directory / "lock").string());
  }
  return lock;
}

Result<std::unique_ptr<Device>> attach(const LayerStore::Place& place, Fd claim = {}) {
  if (place.device.empty()) {
    const fs::path image = place.directory / "device.img";
    SBENCH_TRY(check_unused(image));  // mounted through a second loop device it would be damaged
    return Device::attach_image(image);
  }
  if (claim.valid()) {
    return Device::open_real(place.device, std::move(claim));
  }
  constexpr int kPatience_ms = 10'000;  // the server of a mount that just went may have much to write before its end
  SBENCH_TRY_SET(DeviceFacts facts, claim_unused(place.device, kPatience_ms));
  return Device::open_real(facts.path, std::move(facts.claim));
}

/// A new image, never one that is there: whoever's it is, and whatever it is a link to.
Status make_image(const fs::path& image, std::uint64_t size_bytes) {
  const auto file = open_file(image, O_RDWR | O_CREAT | O_EXCL, 0600);
  if (!file.ok() && file.error().code == EEXIST) {
    return plain_error(EEXIST, "{} is there already, and no store of sbench; name another --store, or remove that file",
                       image.string());
  }
  SBENCH_TRY(file.ok() ? Status() : Status(file.error()));
  if (::ftruncate(file->get(), static_cast<off_t>(size_bytes)) != 0) {
    const Error failure = errno_error("cannot make {}", image.string());
    ::unlink(image.c_str());
    return failure;
  }
  return {};
}

}  // namespace

LayerStore::Place store_place(const std::string& store, const std::string& device) {
  if (store.empty() == device.empty()) {
    throw UsageError("name the store with --store DIR, or with --device DEV");
  }
  return device.empty() ? LayerStore::Place{store, {}}
                        : LayerStore::Place{runtime_directory() / "stores" / fs::path(device).filename(), device};
}

Status LayerStore::format(const Place& place, const Variant& variant, std::uint64_t size_bytes, Fd claim) {
  SBENCH_TRY(make_durable_directories(place.directory / "root"));
  SBENCH_TRY_SET(const Fd lock, lock_store(place.directory));
  if (fs::exists(place.directory / "kept")) {
    return plain_error(EBUSY, "the store in {} has mounted layers; unmount them first", place.directory.string());
  }
  if (place.device.empty()) {
    if (fs::exists(place.directory / "store")) {
      return plain_error(EEXIST, "{} already holds a store; name another --store, or remove that folder first",
                         place.directory.string());
    }
    SBENCH_TRY(make_image(place.directory / "device.img", size_bytes));
  }
  const auto fill = [&]() -> Status {
    SBENCH_TRY_SET(const auto device, attach(place, std::move(claim)));
    SBENCH_TRY(variant.spec->format(*device, variant.options));
    return write_text_atomic(place.directory / "store", variant.label + "\n");
  };
  Status filled = fill();
  if (!filled.ok() && place.device.empty()) {
    ::unlink((place.directory / "device.img").c_str());  // the next attempt finds none
  }
  return filled;
}

Result<std::unique_ptr<LayerStore>> LayerStore::open(const Place& place, const std::string& driver, bool stay) {
  const std::string known = read_trimmed(place.directory / "store");
  if (known.empty() && place.device.empty()) {
    return plain_error(ENOENT, "{} holds no store; make one with sbench layer format", place.directory.string());
  }
  if (known.empty() && driver.empty()) {  // what is known of a device does not survive a restart of the machine
    return plain_error(ENOENT, "nothing is known of a store on {}; if there is one, name its driver with --driver",
                       place.device);
  }
  std::unique_ptr<LayerStore> opened(new LayerStore());
  opened->place_ = place;
  opened->place_.directory = fs::absolute(place.directory);
  opened->variant_ = parse_variant(known.empty() ? driver : known);
  SBENCH_TRY(make_directories(opened->place_.directory / "root"));
  SBENCH_TRY_SET(opened->lock_, lock_store(place.directory));
  SBENCH_TRY(opened->load_kept());
  if (!opened->kept_.empty()) {
    SBENCH_TRY_SET(opened->device_, Device::open_shared(opened->kept_device_));
  } else {
    if (!stay) {
      SBENCH_TRY_SET(opened->session_, Session::enter());
    }
    SBENCH_TRY_SET(opened->device_, attach(opened->place_));
  }
  SBENCH_TRY_SET(opened->store_,
                 Store::open(*opened->device_, opened->variant_, opened->place_.directory / "root"));
  return opened;
}

LayerStore::~LayerStore() {
  if (!kept_.empty() && store_ != nullptr) {
    // Its mounts are to outlive this process: no clean-up may run. Still pointed at, so that it is no leak.
    static auto& left_open = *new std::vector<Store*>();  // NOLINT(bugprone-unhandled-exception-at-new): ends it, rightly
    left_open.push_back(store_.release());
  }
}

Status LayerStore::load_kept() {
  std::istringstream lines(read_trimmed(place_.directory / "kept"));
  std::string line;
  if (std::getline(lines, kept_device_)) {
    while (std::getline(lines, line)) {
      kept_.insert(line);
    }
  }
  return {};
}

Status LayerStore::save_kept() {
  if (kept_.empty()) {
    if (::unlink((place_.directory / "kept").c_str()) != 0 && errno != ENOENT) {
      return errno_error("cannot remove {}", (place_.directory / "kept").string());
    }
    return journal_remove(place_.directory);
  }
  std::string text = device_->path() + "\n";
  for (const auto& id : kept_) {
    text += id + "\n";
  }
  SBENCH_TRY(journal_add(place_.directory));
  return write_text_atomic(place_.directory / "kept", text);
}

Result<fs::path> LayerStore::keep_mounted(const LayerId& id) {
  SBENCH_TRY(journal_add(place_.directory));  // before: a kill from here on leaves something to clean
  SBENCH_TRY_SET(Mount mount, driver().mount(id));
  fs::path path = mount.path();
  mount.detach();
  kept_.insert(id);
  SBENCH_TRY(save_kept());
  return path;
}

Status LayerStore::unmount(const LayerId& id) {
  if (!kept_.contains(id)) {
    return plain_error(ENOENT, "layer {} is not mounted in {}", id, place_.directory.string());
  }
  {
    SBENCH_TRY_SET(Mount mount, driver().mount(id));
    SBENCH_TRY(mount.release());
  }
  kept_.erase(id);
  if (kept_.empty()) {
    SBENCH_TRY(driver().sync());
    store_.reset();
    SBENCH_TRY_SET([[maybe_unused]] const int unmounted, unmount_below(place_.directory / "root"));
    SBENCH_TRY_SET([[maybe_unused]] const auto undone, undo_leftovers());
  }
  return save_kept();
}

}  // namespace sbench
