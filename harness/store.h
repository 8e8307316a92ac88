// store.h: a driver's store opened on a device: what cases run on and `sbench layer` works with.
#pragma once

#include <filesystem>
#include <memory>

#include "drivers/block/device.h"
#include "harness/variant.h"

namespace sbench {

/// Keeps the driver open; reopening it empties caches and proves persistence.
class Store {
 public:
  /// Opens a formatted store. `device` and `variant` must outlive it.
  [[nodiscard]] static Result<std::unique_ptr<Store>> open(Device& device, const Variant& variant,
                                                           std::filesystem::path root);

  [[nodiscard]] Driver& driver() { return *driver_; }
  [[nodiscard]] Device& device() { return device_; }
  [[nodiscard]] const Variant& variant() const { return variant_; }
  /// Where the driver's own file system is mounted.
  [[nodiscard]] const std::filesystem::path& root() const { return root_; }
  /// Closes and opens again; no Mount may be alive. With `cold`, drops the system's caches in between.
  [[nodiscard]] Status reopen(bool cold);

 private:
  Store(Device& device, const Variant& variant, std::filesystem::path root)
      : device_(device), variant_(variant), root_(std::move(root)) {}

  Device& device_;
  const Variant& variant_;
  std::filesystem::path root_;
  std::unique_ptr<Driver> driver_;
};

}  // namespace sbench
