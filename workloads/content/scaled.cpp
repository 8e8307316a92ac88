#include "workloads/content/scaled.h"

#include <sys/resource.h>

#include <algorithm>

#include "drivers/base/fd.h"
#include "workloads/content/base_image.h"

namespace sbench {

namespace {

bool is_full(const Error& error) { return error.code == ENOSPC || error.code == EDQUOT; }

/// The hard limit of open files, where EMFILE may be due to it.
std::optional<rlim_t> low_file_limit(const Error& error) {
  rlimit files{};
  const bool low = error.code == EMFILE && ::getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_max < kOpenFilesUsual;
  return low ? std::optional(files.rlim_max) : std::nullopt;
}

}  // namespace

ParamSpec scale_param(std::vector<std::string> smoke, std::vector<std::string> quick, std::vector<std::string> standard,
                      std::vector<std::string> full) {
  return {"scale",
          "what published sizes and counts are divided by",
          {{std::move(smoke), std::move(quick), std::move(standard), std::move(full)}}};
}

std::uint64_t scaled(const Case& c, std::uint64_t published, std::uint64_t least) {
  return std::max(least, published / c.params().number("scale"));
}

std::function<Status(Case&)> where_it_fits(std::function<Status(Case&)> run) {
  return [run = std::move(run)](Case& c) -> Status {
    Status status = run(c);
    if (status.ok() || c.refusal()) {
      return status;
    }
    if (is_full(status.error())) {
      return c.cannot_run(fmt::format("the device is full: {}", status.error().what),
                          "give it more room: --image-size, or a bigger --device");
    }
    if (const auto limit = low_file_limit(status.error())) {
      return c.cannot_run(fmt::format("a process may have {} files open here: {}", *limit, status.error().what),
                          fmt::format("raise the hard limit: ulimit -Hn {0}, or LimitNOFILE={0} of a service", kOpenFilesUsual));
    }
    return status;
  };
}

Status deep_enough(Case& c, std::uint64_t layers) {
  const auto most = static_cast<std::uint64_t>(c.driver().capabilities().depth_layers_max);
  const std::uint64_t below = c.image() == nullptr ? 0 : c.image()->layers.size();
  if (most == 0 || layers + below <= most) {
    return {};
  }
  return c.cannot_run(fmt::format("{} layers are asked for, {} are the most this driver stacks", layers + below, most),
                      "a driver without that limit: btrfs, devicemapper, vfs");
}

}  // namespace sbench
