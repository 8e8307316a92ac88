#include "harness/injection.h"

#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "harness/expression.h"

namespace sbench {
namespace {

constexpr std::size_t kAlignment = 4096;
constexpr std::chrono::milliseconds kSpin{2};
constexpr double kShareMax = 1000;
constexpr const char* kForm = "--inject '{}' is not REGEX=slow:20% or REGEX=write:1400K";

}  // namespace

std::optional<Injection> Injection::parse(const std::string& text) {
  if (text.empty()) {
    return std::nullopt;
  }
  const auto equals = text.rfind('=');
  const auto colon = text.find(':', equals == std::string::npos ? 0 : equals);
  if (equals == std::string::npos || equals == 0 || colon == std::string::npos) {
    throw UsageError(kForm, text);
  }
  Injection injection;
  injection.cases_ = user_expression(text.substr(0, equals), "--inject");
  const std::string kind = text.substr(equals + 1, colon - equals - 1);
  const std::string amount = text.substr(colon + 1);
  if (kind == "slow" && amount.ends_with('%')) {
    injection.slow_share_ = std::strtod(amount.c_str(), nullptr) / 100;
  } else if (kind == "write") {
    injection.write_bytes_ = parse_size(amount, "--inject") / kAlignment * kAlignment;
  }
  if (!(injection.slow_share_ > 0 && injection.slow_share_ <= kShareMax) && injection.write_bytes_ == 0) {
    throw UsageError(kForm, text);
  }
  return injection;
}

/// Sleeps what is long and spins the rest: a sleep of a tenth of a millisecond takes twice that.
void Injection::slow_down(double seconds) const {
  using Clock = std::chrono::steady_clock;
  const auto wait = std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds * slow_share_));
  const auto until = Clock::now() + wait;
  if (wait > kSpin) {
    std::this_thread::sleep_for(wait - kSpin);
  }
  while (Clock::now() < until) {
  }
}

Status Injection::write(const std::filesystem::path& folder) const {
  if (write_bytes_ == 0) {
    return {};
  }
  SBENCH_TRY_SET(const Fd file, open_file(folder, O_TMPFILE | O_RDWR | O_DIRECT, 0600));
  const std::unique_ptr<void, decltype(&std::free)> block(std::aligned_alloc(kAlignment, write_bytes_), &std::free);
  std::memset(block.get(), 0x5b, write_bytes_);
  for (std::uint64_t done = 0; done < write_bytes_;) {
    const ssize_t wrote = ::pwrite(file.get(), static_cast<const char*>(block.get()) + done, write_bytes_ - done,
                                   static_cast<off_t>(done));
    if (wrote <= 0) {
      return errno_error("cannot write {} extra bytes in {}", write_bytes_, folder.string());
    }
    done += static_cast<std::uint64_t>(wrote);
  }
  return {};
}

}  // namespace sbench
