#include "workloads/content/scaled.h"

#include <algorithm>

#include "workloads/content/base_image.h"

namespace sbench {

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
    if (!status.ok() && !c.refusal() && (status.error().code == ENOSPC || status.error().code == EDQUOT)) {
      return c.cannot_run(fmt::format("the device is full: {}", status.error().what),
                          "give it more room: --image-size, or a bigger --device");
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
