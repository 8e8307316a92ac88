#include "harness/progress.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"

namespace sbench {

ProgressStyle parse_progress(const std::string& name, bool err_is_terminal) {
  if (name == "auto") {
    return err_is_terminal ? ProgressStyle::tty : ProgressStyle::plain;
  }
  if (name == "tty") {
    return ProgressStyle::tty;
  }
  if (name == "plain") {
    return ProgressStyle::plain;
  }
  if (name == "json") {
    return ProgressStyle::json;
  }
  if (name == "none") {
    return ProgressStyle::none;
  }
  throw UsageError("--progress '{}': write auto, tty, plain, json or none", name);
}

double Progress::eta_s() const {
  if (measured_ == 0) {
    return 0;
  }
  // Cases already seen cost what they cost last time, in each block still to come;
  // cases not seen yet cost the average so far.
  double seen_remaining_s = 0;
  std::size_t seen_remaining = 0;
  for (const auto& [name, cost_s] : cost_s_) {
    const int left = std::max(0, blocks_ - seen_.at(name));
    seen_remaining_s += cost_s * left;
    seen_remaining += static_cast<std::size_t>(left);
  }
  const std::size_t remaining = total_ > done_ ? total_ - done_ : 0;
  const std::size_t unseen = remaining > seen_remaining ? remaining - seen_remaining : 0;
  return seen_remaining_s + static_cast<double>(unseen) * spent_s_ / static_cast<double>(measured_);
}

void Progress::sample_done(int block, const std::string& name, double value_s, double wall_s, Outcome outcome) {
  ++done_;
  ++measured_;
  spent_s_ += wall_s;
  cost_s_[name] = wall_s;
  ++seen_[name];
  const bool failed = outcome == Outcome::failed;
  const std::string value = failed ? "FAILED" : outcome == Outcome::skipped ? "skipped" : human_duration(value_s);
  switch (style_) {
    case ProgressStyle::tty: {
      std::string line = fmt::format("[{:>4}/{}] block {}/{}  {}  {}  ETA {}", done_, total_, block + 1, blocks_, name,
                                     value, human_duration(eta_s()));
      if (line.size() > 100) {
        line.resize(100);
      }
      console_.err << "\r\x1b[K" << line << std::flush;
      line_open_ = true;
      break;
    }
    case ProgressStyle::plain:
      console_.err << fmt::format("[{}/{}] block {}/{} {} {} (ETA {})\n", done_, total_, block + 1, blocks_, name, value,
                                  human_duration(eta_s()))
                   << std::flush;
      break;
    case ProgressStyle::json:
      console_.err << nlohmann::json{{"done", done_},   {"total", total_},     {"block", block}, {"case", name},
                                     {"real_s", value_s}, {"failed", failed}, {"eta_s", eta_s()}}
                          .dump()
                   << "\n"
                   << std::flush;
      break;
    case ProgressStyle::none:
      break;
  }
}

void Progress::message(const std::string& text) {
  if (style_ == ProgressStyle::none) {
    return;
  }
  finish();
  if (style_ == ProgressStyle::json) {
    console_.err << nlohmann::json{{"message", text}}.dump() << "\n" << std::flush;
  } else {
    console_.err << text << "\n" << std::flush;
  }
}

void Progress::finish() {
  if (line_open_) {
    console_.err << "\n" << std::flush;
    line_open_ = false;
  }
}

}  // namespace sbench
