#include "harness/soak/campaign.h"

#include <fmt/ranges.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <set>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "harness/guest/guard_process.h"
#include "harness/soak/case_run.h"
#include "harness/stop_on_signal.h"

namespace sbench::soak {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::uint64_t kDeviceBytes = 2 * kGiB;
constexpr double kLineEvery_s = 10;
constexpr std::size_t kMemoryPoints = 200;
constexpr double kMemoryEvery_s = 5;
constexpr double kMemoryJudged_s = 600;       ///< shorter soaks still fill tables that stay
constexpr long kMemoryGrowthMax_kib = 256;    ///< some pages; 100 bytes kept a case are more in an hour
constexpr int kUndisturbedTries = 3;

const std::vector<std::string>& finding_kinds() {
  static const std::vector<std::string> kinds = {"leak", "hang", "wrong_number", "lost_bytes", "result", "unnamed",
                                                 "undisturbed"};
  return kinds;
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// Mounts of the soak and of all its children are nobody else's, and the connections can be seen.
Status enter_own_namespace() {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
    return errno_error("cannot make a mount namespace");
  }
  ::mount("fusectl", "/sys/fs/fuse/connections", "fusectl", MS_NOSUID | MS_NODEV, nullptr);
  return become_reaper();
}

/// The middle value of the `quarter`th quarter (0 to 3) of the points: a moment's peak does not count.
long median_of_quarter(const std::vector<std::pair<double, long>>& points, std::size_t quarter) {
  std::vector<long> values;
  for (std::size_t i = points.size() * quarter / 4; i < points.size() * (quarter + 1) / 4; ++i) {
    values.push_back(points[i].second);
  }
  if (values.empty()) {
    return 0;
  }
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

class Campaign {
 public:
  Campaign(const SoakRequest& request, Console& console)
      : request_(request), console_(console), drivers_(request.drivers) {}

  Result<json> run();

 private:
  struct Row {
    std::uint64_t kills = 0;
    std::uint64_t faults = 0;
    std::uint64_t missed = 0;
    std::uint64_t cleaned = 0;
    std::uint64_t acknowledged = 0;
    std::uint64_t samples = 0;
    std::map<std::string, std::uint64_t> findings;
  };

  [[nodiscard]] bool over() const;
  [[nodiscard]] SoakCase next_case(Rng& rng);
  [[nodiscard]] Status make_device();
  [[nodiscard]] Result<const Reference*> reference_of(const SoakCase& each);
  [[nodiscard]] CaseContext context_for(const fs::path& folder) const;
  [[nodiscard]] Status carry_out(const SoakCase& each);
  void count(const SoakCase& each, const CaseOutcome& outcome, const fs::path& folder);
  void add_finding(const SoakCase& each, const Finding& finding, const fs::path& kept);
  void remember_memory();
  void say_progress(bool last);
  [[nodiscard]] json memory_record() const;
  [[nodiscard]] json record() const;

  const SoakRequest& request_;
  Console& console_;
  fs::path folder_;
  std::unique_ptr<GuardProcess> guard_;  ///< removes the folder when the soak is killed
  std::unique_ptr<FaultyDevice> device_;
  double begun_s_ = now_s();
  double said_s_ = 0;
  std::uint64_t number_ = 0;
  std::uint64_t kills_ = 0;
  std::uint64_t faults_ = 0;
  std::map<std::string, Reference> references_;
  std::set<std::string> store_only_;       ///< never timed, as they fail the semantic check
  std::map<std::string, int> unmeasured_;  ///< by driver: undisturbed runs that failed
  std::map<std::string, Row> rows_;
  std::map<std::string, std::uint64_t> kinds_;
  json findings_ = json::array();
  std::vector<std::pair<double, long>> memory_;  ///< seconds, KiB
  long run_rss_max_kib_ = 0;
  std::vector<std::string> drivers_;  ///< those that work undisturbed
  std::vector<std::string> turns_;    ///< of them, those still to come in this round
};

bool Campaign::over() const {
  const bool counted = request_.kills + request_.faults > 0;
  return StopOnSignal::signal_number() != 0 || (counted && kills_ >= request_.kills && faults_ >= request_.faults) ||
         (request_.limit_s > 0 && now_s() - begun_s_ >= request_.limit_s);
}

SoakCase Campaign::next_case(Rng& rng) {
  if (turns_.empty()) {  // every driver once, in a new order
    turns_ = drivers_;
    rng.shuffle(turns_);
  }
  const std::string driver = turns_.back();
  turns_.pop_back();
  const std::uint64_t kills_left = request_.kills > kills_ ? request_.kills - kills_ : 0;
  const std::uint64_t faults_left = request_.faults > faults_ ? request_.faults - faults_ : 0;
  const bool by_count = kills_left + faults_left > 0;
  const auto drawn = [&] {
    const bool kill = by_count ? rng.below(kills_left + faults_left) < kills_left : rng.below(2) == 0;
    return draw_case(number_, driver, kill, rng);
  };
  SoakCase each = drawn();
  for (int tries = 0; tries < 1000 && !request_.only.empty(); ++tries, each = drawn()) {
    if (std::find(request_.only.begin(), request_.only.end(), to_string(each.fault)) != request_.only.end()) {
      break;
    }
  }
  if (store_only_.contains(driver)) {
    each.work = Work::store;
  }
  ++number_;
  return each;
}

Status Campaign::make_device() {
  device_.reset();
  const fs::path served = folder_ / "device";
  SBENCH_TRY(make_directories(served));
  SBENCH_TRY_SET(device_, FaultyDevice::make(served, kDeviceBytes));
  return {};
}

CaseContext Campaign::context_for(const fs::path& folder) const {
  return {request_.program, request_.seed, folder, device_.get(), {device_->server(), guard_->pid()},
          std::chrono::seconds(request_.hang_after_s)};
}

Result<const Reference*> Campaign::reference_of(const SoakCase& each) {
  const std::string key = each.driver + " " + (each.work == Work::run ? each.workload : "");
  if (const auto known = references_.find(key); known != references_.end()) {
    return &known->second;
  }
  const fs::path folder = folder_ / "undisturbed";
  SBENCH_TRY(make_directories(folder));
  auto measured = undisturbed(each, context_for(folder));
  SBENCH_TRY(remove_tree(folder));
  if (!measured.ok()) {
    return measured.error();
  }
  return &references_.insert_or_assign(key, std::move(*measured)).first->second;
}

Status Campaign::carry_out(const SoakCase& each) {
  const auto found = reference_of(each);
  if (!found.ok() && found.error().code == ENOTSUP) {
    store_only_.insert(each.driver);
    return {};
  }
  if (!found.ok()) {  // without any fault: something else on the machine, or a defect; either is told
    add_finding(each, {"undisturbed", found.error().what}, "");
    if (++unmeasured_[each.driver] == kUndisturbedTries) {
      std::erase(drivers_, each.driver);
    }
    return drivers_.empty() ? Status(found.error()) : Status();
  }
  const Reference* reference = *found;
  const fs::path folder = folder_ / fmt::format("case-{}", each.number);
  SBENCH_TRY(make_directories(folder));
  SBENCH_TRY_SET(const CaseOutcome outcome, run_case(each, *reference, context_for(folder)));
  count(each, outcome, folder);
  if (!outcome.findings.empty()) {
    SBENCH_TRY(make_device());  // whatever holds the old one
  }
  return remove_tree(folder);
}

void Campaign::count(const SoakCase& each, const CaseOutcome& outcome, const fs::path& folder) {
  Row& row = rows_[each.driver];
  const bool kill = is_kill(each.fault);
  row.missed += outcome.hit ? 0 : 1;
  if (outcome.hit) {
    ++(kill ? row.kills : row.faults);
    ++(kill ? kills_ : faults_);
    ++kinds_[to_string(each.fault)];
  }
  row.kills += outcome.later_kills;
  kills_ += outcome.later_kills;
  if (outcome.later_kills > 0) {
    kinds_[to_string(each.fault)] += outcome.later_kills;
  }
  row.cleaned += outcome.cleaned ? 1 : 0;
  row.acknowledged += outcome.acknowledged;
  row.samples += outcome.samples;
  run_rss_max_kib_ = std::max(run_rss_max_kib_, outcome.rss_max_kib);
  for (const auto& finding : outcome.findings) {
    add_finding(each, finding, request_.findings.empty() ? fs::path() : request_.findings / folder.filename());
  }
  if (!outcome.findings.empty() && !request_.findings.empty()) {
    std::error_code ignored;
    fs::create_directories(request_.findings, ignored);
    fs::copy(folder, request_.findings / folder.filename(), fs::copy_options::recursive, ignored);
  }
}

void Campaign::add_finding(const SoakCase& each, const Finding& finding, const fs::path& kept) {
  const std::string work = each.work == Work::run ? each.workload : "store";
  ++rows_[each.driver].findings[finding.kind];
  findings_.push_back({{"case", each.number},
                       {"driver", each.driver},
                       {"work", work},
                       {"fault", to_string(each.fault)},
                       {"moment", each.moment},
                       {"finding", finding.kind},
                       {"what", finding.what},
                       {"files", kept.string()}});
  console_.err << fmt::format("\nFOUND case {} {} {} {}: {}: {}\n", each.number, each.driver, work, to_string(each.fault),
                              finding.kind, finding.what)
               << std::flush;
}

void Campaign::remember_memory() {
  const double at_s = now_s() - begun_s_;
  if (memory_.empty() || at_s - memory_.back().first >= kMemoryEvery_s) {
    memory_.emplace_back(at_s, own_memory_kib());
  }
}

json Campaign::memory_record() const {
  json points = json::array();
  const std::size_t step = memory_.size() / kMemoryPoints + 1;
  for (std::size_t i = 0; i < memory_.size(); i += step) {
    points.push_back({memory_[i].first, memory_[i].second});
  }
  return {{"start_kib", memory_.empty() ? 0 : memory_.front().second},
          {"end_kib", memory_.empty() ? 0 : memory_.back().second},
          {"run_max_kib", run_rss_max_kib_},
          {"points", points},
          {"verdict", judge_memory(memory_)}};
}

void Campaign::say_progress(bool last) {
  const double spent_s = now_s() - begun_s_;
  if (!last && !console_.err_is_terminal && spent_s - said_s_ < kLineEvery_s) {
    return;
  }
  said_s_ = spent_s;
  console_.err << fmt::format("{}{} cases in {}: {} kills, {} faults, {} findings, {} KiB{}",
                              console_.err_is_terminal ? "\r\033[K" : "", number_, human_duration(spent_s), kills_, faults_,
                              findings_.size(), own_memory_kib(),
                              console_.err_is_terminal && !last ? "" : "\n")
               << std::flush;
}

json Campaign::record() const {
  json rows = json::array();
  for (const auto& [driver, row] : rows_) {
    json entry = {{"driver", driver},   {"kills", row.kills},     {"faults", row.faults},
                  {"missed", row.missed}, {"cleaned", row.cleaned}, {"acknowledged_checked", row.acknowledged},
                  {"samples_compared", row.samples}};
    for (const auto& kind : finding_kinds()) {
      entry[kind] = row.findings.contains(kind) ? row.findings.at(kind) : 0;
    }
    rows.push_back(std::move(entry));
  }
  return {{"tool", "sbench soak"},
          {"version", SBENCH_VERSION},
          {"seed", request_.seed},
          {"seconds", now_s() - begun_s_},
          {"cases", number_},
          {"kills", kills_},
          {"faults", faults_},
          {"kinds", kinds_},
          {"rows", rows},
          {"findings", findings_},
          {"memory", memory_record()}};
}

Result<json> Campaign::run() {
  SBENCH_TRY(enter_own_namespace());
  SBENCH_TRY_SET(folder_, make_unique_directory(request_.work_folder / "sbench-soak-"));
  SBENCH_TRY_SET(guard_, GuardProcess::start(folder_));
  const StopOnSignal stop_on_signal(SA_RESTART);
  Status status = make_device();
  Rng rng(request_.seed, "soak");
  while (status.ok() && !over()) {
    status = carry_out(next_case(rng));
    remember_memory();
    say_progress(false);
  }
  say_progress(true);
  device_.reset();
  const Status removed = remove_tree(folder_);
  if (!status.ok()) {
    return status.error();
  }
  SBENCH_TRY(removed);
  return record();
}

}  // namespace

json judge_memory(const std::vector<std::pair<double, long>>& points) {
  if (points.empty() || points.back().first < kMemoryJudged_s) {
    return {{"flat", nullptr}, {"growth_kib", nullptr}, {"growth_max_kib", kMemoryGrowthMax_kib}};
  }
  const long growth_kib = median_of_quarter(points, 3) - median_of_quarter(points, 1);
  return {{"flat", growth_kib <= kMemoryGrowthMax_kib},
          {"growth_kib", growth_kib},
          {"growth_max_kib", kMemoryGrowthMax_kib}};
}

Result<json> run_soak(const SoakRequest& request, Console& console) { return Campaign(request, console).run(); }

namespace {
std::uint64_t sum_of(const json& record, const char* column) {
  std::uint64_t sum = 0;
  for (const auto& row : record.at("rows")) {
    sum += row.at(column).get<std::uint64_t>();
  }
  return sum;
}
}  // namespace

std::string table_of(const json& record) {
  std::string text =
      "| Driver | Kills | Faults | Leaks | Hangs | Wrong numbers | Lost bytes | Bad results | Unnamed | Looked up | Compared |\n"
      "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n";
  const std::vector<std::string> columns = {"kills", "faults", "leak", "hang", "wrong_number", "lost_bytes", "result",
                                            "unnamed", "acknowledged_checked", "samples_compared"};
  std::map<std::string, std::uint64_t> totals;
  for (const auto& row : record.at("rows")) {
    text += fmt::format("| `{}` |", row.at("driver").get<std::string>());
    for (const auto& column : columns) {
      totals[column] += row.at(column).get<std::uint64_t>();
      text += fmt::format(" {} |", row.at(column).get<std::uint64_t>());
    }
    text += "\n";
  }
  text += "| all |";
  for (const auto& column : columns) {
    text += fmt::format(" {} |", totals[column]);
  }
  return text + "\n";
}

std::string summary_of(const json& record) {
  std::vector<std::string> kinds;
  for (const auto& [kind, count] : record.at("kinds").items()) {
    kinds.push_back(fmt::format("{} {}", count.get<std::uint64_t>(), kind));
  }
  const json& memory = record.at("memory");
  const json& verdict = memory.at("verdict");
  const std::string judged =
      verdict.at("flat").is_null()
          ? "not judged, the soak was too short"
          : fmt::format("{}: {:+} KiB from the second quarter's median to the last's, at most {:+} is flat",
                        verdict.at("flat").get<bool>() ? "flat" : "NOT FLAT", verdict.at("growth_kib").get<long>(),
                        verdict.at("growth_max_kib").get<long>());
  return fmt::format("{} cases, seed {}, {}; {} not hit, {} left something that sbench clean removed; {} findings\n"
                     "{}\nmemory: {} KiB at first, {} KiB at last, {}",
                     record.at("cases").get<std::uint64_t>(), record.at("seed").get<std::uint64_t>(),
                     human_duration(record.at("seconds").get<double>()), sum_of(record, "missed"), sum_of(record, "cleaned"),
                     record.at("findings").size(), fmt::join(kinds, ", "), memory.at("start_kib").get<long>(),
                     memory.at("end_kib").get<long>(), judged);
}

}  // namespace sbench::soak
