#include "workloads/case.h"

#include <time.h>

#include <charconv>

#include "drivers/base/check.h"
#include "drivers/base/units.h"

namespace sbench {

void Params::set(const std::string& name, const std::string& value) { items_.emplace_back(name, value); }

const std::string& Params::text(std::string_view name) const {
  for (const auto& [key, value] : items_) {
    if (key == name) {
      return value;
    }
  }
  SBENCH_CHECK(!"the workload declares every parameter it reads");
  return items_.front().second;
}

std::uint64_t Params::number(std::string_view name) const {
  const std::string& value = text(name);
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
  SBENCH_CHECK(error == std::errc{} && end == value.data() + value.size());
  return number;
}

std::uint64_t Params::bytes(std::string_view name) const { return parse_size(text(name), name); }

Error Case::cannot_run(std::string reason, std::string remedy) {
  refusal_ = Refusal{std::move(reason), std::move(remedy)};
  return plain_error(EOPNOTSUPP, "cannot run here: {}; {}", refusal_->reason, refusal_->remedy);
}

std::uint64_t Case::clock_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u + static_cast<std::uint64_t>(now.tv_nsec);
}

Status verify(bool condition, std::string_view what) {
  return condition ? Status() : Status(plain_error(EILSEQ, "verification failed: {}", what));
}

}  // namespace sbench
