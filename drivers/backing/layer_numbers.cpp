#include "drivers/backing/layer_numbers.h"

#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "drivers/base/file.h"

namespace sbench {

Result<LayerNumbers> LayerNumbers::open(std::filesystem::path directory, std::uint32_t first, std::uint32_t end) {
  SBENCH_TRY(make_directories(directory));
  LayerNumbers layers(std::move(directory), first, end);
  std::error_code failure;
  for (std::filesystem::directory_iterator it(layers.directory_, failure), stop; !failure && it != stop; it.increment(failure)) {
    std::error_code unreadable;
    const std::string target = std::filesystem::read_symlink(it->path(), unreadable);
    std::uint32_t number = 0;
    const auto [rest, bad] = std::from_chars(target.data(), target.data() + target.size(), number);
    if (unreadable || bad != std::errc() || *rest != '\0' || number < first || number >= end) {
      return plain_error(EUCLEAN, "{} does not name a layer's number", it->path().string());
    }
    layers.numbers_[it->path().filename()] = number;
  }
  if (failure) {
    return make_error(failure.value(), "cannot read {}", layers.directory_.string());
  }
  return layers;
}

std::optional<std::uint32_t> LayerNumbers::find(const LayerId& id) const {
  const auto found = numbers_.find(id);
  return found == numbers_.end() ? std::nullopt : std::optional(found->second);
}

std::uint32_t LayerNumbers::at(const LayerId& id) const { return numbers_.at(id); }

std::uint32_t LayerNumbers::free_number() const {
  std::set<std::uint32_t> taken;
  for (const auto& [layer, number] : numbers_) {
    taken.insert(number);
  }
  std::uint32_t number = taken.empty() ? first_ : *taken.rbegin() + 1;
  for (std::uint32_t tried = first_; tried < end_ && (number >= end_ || taken.contains(number)); ++tried) {
    number = number >= end_ ? first_ : number + 1;
  }
  return number;
}

Status LayerNumbers::set(const LayerId& id, std::uint32_t number) {
  if (::symlink(std::to_string(number).c_str(), (directory_ / id).c_str()) != 0) {
    return errno_error("cannot make {}", (directory_ / id).string());
  }
  numbers_[id] = number;
  return {};
}

Status LayerNumbers::rename(const LayerId& key, const LayerId& name) {
  if (::rename((directory_ / key).c_str(), (directory_ / name).c_str()) != 0) {
    return errno_error("cannot rename {}", (directory_ / key).string());
  }
  auto moved = numbers_.extract(key);
  moved.key() = name;
  numbers_.insert(std::move(moved));
  return {};
}

Status LayerNumbers::erase(const LayerId& id) {
  if (::unlink((directory_ / id).c_str()) != 0 && errno != ENOENT) {
    return errno_error("cannot remove {}", (directory_ / id).string());
  }
  numbers_.erase(id);
  return {};
}

}  // namespace sbench
