#include "harness/store.h"

#include "harness/sampler.h"

namespace sbench {

Result<std::unique_ptr<Store>> Store::open(Device& device, const Variant& variant, std::filesystem::path root) {
  std::unique_ptr<Store> store(new Store(device, variant, std::move(root)));
  SBENCH_TRY_SET(store->driver_, variant.spec->open(device, variant.options, store->root_));
  return store;
}

Status Store::reopen(bool cold) {
  SBENCH_TRY(driver_->sync());
  driver_.reset();
  if (cold) {
    SBENCH_TRY(drop_system_caches());
  }
  SBENCH_TRY_SET(driver_, variant_.spec->open(device_, variant_.options, root_));
  return {};
}

}  // namespace sbench
