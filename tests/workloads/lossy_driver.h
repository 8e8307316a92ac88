// lossy_driver.h: a driver that loses the last byte of every file a layer adds or changes, at commit.
//
// Everything else works. Whoever verifies what it stored must notice.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <memory>

#include "drivers/driver.h"

namespace sbench::testing {

class LossyDriver : public Driver {
 public:
  explicit LossyDriver(std::unique_ptr<Driver> inner) : inner_(std::move(inner)) {}

  Status prepare(const LayerId& key, const ParentId& parent) override {
    parents_[key] = parent;
    return inner_->prepare(key, parent);
  }
  Status commit(const LayerId& name, const LayerId& key) override {
    SBENCH_TRY_SET(const auto changes, inner_->changes(key, parents_[key]));
    SBENCH_TRY_SET(Mount mount, inner_->mount(key));
    for (const auto& change : changes) {
      const auto path = mount.path() / change.path;
      struct stat status {};
      if (::lstat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 &&
          ::truncate(path.c_str(), status.st_size - 1) != 0) {
        return errno_error("cannot truncate {}", path.string());
      }
    }
    SBENCH_TRY(mount.release());
    parents_[name] = parents_[key];
    return inner_->commit(name, key);
  }
  Status remove(const LayerId& id) override { return inner_->remove(id); }
  Result<Mount> mount(const LayerId& id) override { return inner_->mount(id); }
  Result<std::uint64_t> apply(const LayerId& key, ByteSource& tar) override { return inner_->apply(key, tar); }
  Status diff(const LayerId& id, const ParentId& parent, ByteSink& tar) override {
    return inner_->diff(id, parent, tar);
  }
  Result<std::vector<Change>> changes(const LayerId& id, const ParentId& parent) override {
    return inner_->changes(id, parent);
  }
  Result<Usage> usage(const LayerId& id) override { return inner_->usage(id); }
  Result<Usage> store_usage() override { return inner_->store_usage(); }
  Status sync() override { return inner_->sync(); }
  std::vector<std::pair<std::string, std::string>> status() override { return inner_->status(); }
  Capabilities capabilities() const override { return inner_->capabilities(); }
  Result<std::vector<std::pair<LayerId, ParentId>>> list() override { return inner_->list(); }

 private:
  std::unique_ptr<Driver> inner_;
  std::map<LayerId, ParentId> parents_;
};

}  // namespace sbench::testing
