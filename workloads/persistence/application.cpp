#include "workloads/persistence/application.h"

#include <optional>

#include "drivers/base/file.h"
#include "drivers/layer/copy_tree.h"
#include "workloads/content/bind_mount.h"
#include "workloads/content/fixtures.h"
#include "workloads/content/scratch.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kDataFolder = "var/lib/application";

Result<LayerId> application_image(Case& c, const LayerId& name, Application& application) {
  SBENCH_TRY_SET(const ParentId base, fixture_base(c));
  SBENCH_TRY(written_layer(c, name, base, [&](const fs::path& root) -> Status {
    SBENCH_TRY(make_directories(root / kDataFolder));
    return application.install(root / kDataFolder);
  }));
  return name;
}

/// A container with the application's data attached; removed by remove().
class Container {
 public:
  /// `outside`: the volume's or host directory's data; nothing: it stays in the writable layer.
  static Result<Container> start(Case& c, Scratch& scratch, const LayerId& image,
                                 const std::optional<fs::path>& outside) {
    SBENCH_TRY_SET(LayerId id, scratch.prepare("persistence", image));
    SBENCH_TRY_SET(Mount mount, c.driver().mount(id));
    Container made(std::move(id), std::move(mount));
    if (outside.has_value()) {
      SBENCH_TRY_SET(BindMount bind, BindMount::attach(*outside, made.data()));
      made.bind_.emplace(std::move(bind));
    }
    return made;
  }

  [[nodiscard]] fs::path data() const { return mount_.path() / kDataFolder; }
  [[nodiscard]] const LayerId& id() const { return id_; }

  Status stop() {
    if (bind_.has_value()) {
      SBENCH_TRY(bind_->detach());
      bind_.reset();
    }
    return mount_.release();
  }

 private:
  Container(LayerId id, Mount mount) : id_(std::move(id)), mount_(std::move(mount)) {}

  LayerId id_;
  Mount mount_;
  std::optional<BindMount> bind_;  ///< last: it goes before the mount it lies in
};

Status copy_image_data(Case& c, const LayerId& image, const fs::path& target) {
  SBENCH_TRY_SET(Mount mount, c.driver().mount(image));
  SBENCH_TRY_SET([[maybe_unused]] const CopyStats stats,
                 copy_tree(mount.path() / kDataFolder, target, CopyMode::copy_data));
  return mount.release();
}

/// The directory outside of the container, when the place has one.
class Outside {
 public:
  Status make(Case& c, Scratch& scratch, const LayerId& image, const std::string& place) {
    if (place == "layer") {
      return {};
    }
    SBENCH_TRY_SET(id_, scratch.prepare(place, std::nullopt));
    SBENCH_TRY_SET(Mount mount, c.driver().mount(id_));
    mount_.emplace(std::move(mount));
    const auto fill = [&]() -> Status {
      SBENCH_TRY(make_directories(*path()));
      return copy_image_data(c, image, *path());
    };
    // A new volume is filled when the container is created; a host directory was there before.
    return place == "volume" ? c.phase("fill_volume", fill) : fill();
  }

  [[nodiscard]] std::optional<fs::path> path() const {
    return mount_.has_value() ? std::optional(mount_->path() / "_data") : std::nullopt;
  }

  Status remove(Case& c, Scratch& scratch, Application& application) {
    if (!mount_.has_value()) {
      return {};
    }
    SBENCH_TRY(application.check(*path(), true));  // both containers are gone, the data is not
    SBENCH_TRY(mount_->release());
    mount_.reset();
    return c.phase("remove_volume", [&] { return scratch.remove(id_); });
  }

 private:
  LayerId id_;
  std::optional<Mount> mount_;
};

/// What a container started after the first one's removal finds.
Status verify_afterwards(Case& c, Scratch& scratch, const LayerId& image, const Outside& outside,
                         Application& application) {
  SBENCH_TRY_SET(Container second, Container::start(c, scratch, image, outside.path()));
  SBENCH_TRY(application.check(second.data(), outside.path().has_value()));
  SBENCH_TRY(second.stop());
  SBENCH_TRY(scratch.remove(second.id()));
  SBENCH_TRY_SET(Mount lower, c.driver().mount(image));
  SBENCH_TRY(application.check(lower.path() / kDataFolder, false));
  return lower.release();
}

}  // namespace

Status run_application(Case& c, const std::string& image_name, Application& application) {
  SBENCH_TRY_SET(const LayerId image, application_image(c, image_name, application));
  Scratch scratch(c);
  Outside outside;
  SBENCH_TRY(outside.make(c, scratch, image, c.params().text("place")));
  SBENCH_TRY_SET(Container container, Container::start(c, scratch, image, outside.path()));
  SBENCH_TRY_SET(const Case::Space before, c.space());
  SBENCH_TRY(quiet(c));

  SBENCH_TRY(c.timed("work", [&] { return application.work(c, container.data()); }));
  SBENCH_TRY(c.timed("sync", [&] { return c.driver().sync(); }));
  SBENCH_TRY(c.settle());
  c.app_wrote(application.bytes_written());
  SBENCH_TRY_SET(const Case::Space after, c.space());
  c.metric("space_growth_bytes", static_cast<double>(after.bytes) - static_cast<double>(before.bytes));
  SBENCH_TRY(application.check(container.data(), true));
  SBENCH_TRY_SET(const Usage usage, c.driver().usage(container.id()));
  c.metric("container_layer_bytes", static_cast<double>(usage.bytes_allocated));

  SBENCH_TRY(c.phase("remove_container", [&]() -> Status {
    SBENCH_TRY(container.stop());
    return scratch.remove(container.id());
  }));
  SBENCH_TRY(verify_afterwards(c, scratch, image, outside, application));
  SBENCH_TRY(outside.remove(c, scratch, application));
  return scratch.remove_all();
}

ParamSpec place_param() {
  const std::vector<std::string> all = {"layer", "volume", "bind"};
  return {"place", "where the data lies: writable layer, named volume or bind mount", {{all, {"layer", "volume"}, all, all}}};
}

}  // namespace sbench
