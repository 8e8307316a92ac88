// application.h: one application that keeps data, run with its data in three places.
//
//   layer   in the container's writable layer: first writes copy up, removal deletes it
//   volume  in a named volume: a directory of the same store, filled from the image when
//           it is new, as Docker does, and bind mounted into the container
//   bind    in a directory of the machine, on the same device, bind mounted into the
//           container; what the image has at that place is hidden
// A driver has no directories but layers, so volume and host directory are layers
// without a parent; every driver of sbench keeps such a one as a plain tree.
// What is left when the container is removed is looked at, not assumed.
#pragma once

#include <filesystem>
#include <string>

#include "workloads/workload.h"

namespace sbench {

class Application {
 public:
  virtual ~Application() = default;
  /// Makes the data the image comes with in the empty directory `data`. Not timed.
  [[nodiscard]] virtual Status install(const std::filesystem::path& data) = 0;
  /// Works on it; latencies go to `c`. Timed.
  [[nodiscard]] virtual Status work(Case& c, const std::filesystem::path& data) = 0;
  /// Whether `data` is what install() left, or, with `worked`, what work() left.
  [[nodiscard]] virtual Status check(const std::filesystem::path& data, bool worked) = 0;
  /// Bytes the application itself writes in work(): the base of the write amplification.
  [[nodiscard]] virtual std::uint64_t bytes_written() const = 0;
};

/// Runs `application` with its data in the place the parameter `place` names. `image_name` is the
/// fixture that install() made; equal names mean equal data.
[[nodiscard]] Status run_application(Case& c, const std::string& image_name, Application& application);

/// The parameter `place` of every workload of the family.
[[nodiscard]] ParamSpec place_param();

}  // namespace sbench
