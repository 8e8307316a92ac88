// bind_mount.h: a directory shown at a second place, as `docker run -v` does.
#pragma once

#include <filesystem>

#include "drivers/base/result.h"

namespace sbench {

/// `source` shown at `target` as well, until detach() or the end of scope. Declare it
/// after the Mount its target lies in.
class BindMount {
 public:
  [[nodiscard]] static Result<BindMount> attach(const std::filesystem::path& source,
                                                const std::filesystem::path& target);
  BindMount(BindMount&& other) noexcept;
  BindMount& operator=(BindMount&&) = delete;
  ~BindMount();
  [[nodiscard]] Status detach();

 private:
  explicit BindMount(std::filesystem::path target) : target_(std::move(target)) {}
  std::filesystem::path target_;
};

}  // namespace sbench
