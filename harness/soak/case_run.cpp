#include "harness/soak/case_run.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <fmt/ranges.h>
#include <unistd.h>
#include <sstream>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/process.h"
#include "harness/console.h"
#include "harness/soak/clock.h"
#include "harness/soak/remount.h"
#include "harness/soak/results.h"
#include "harness/variant.h"

namespace sbench::soak {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

namespace {

constexpr auto kStep = std::chrono::milliseconds(1);
constexpr auto kLookAgain = std::chrono::milliseconds(200);  ///< for new mounts and connections of the case
constexpr int kLeftPatience_ms = 20'000;  ///< as long as a pool server may take to close in good order, and more

void nap() { std::this_thread::sleep_for(kStep); }

std::string last_lines(const fs::path& file, std::size_t bytes = 400) {
  const auto text = read_text(file);
  return text.ok() ? text->substr(text->size() - std::min(text->size(), bytes)) : "";
}

/// Carries one case out; keeps what its parts share.
class CaseRun {
 public:
  CaseRun(const SoakCase& each, const CaseContext& context)
      : case_(each), context_(context), traces_(context.folder, context.own) {}

  Result<Reference> undisturbed();
  Result<CaseOutcome> disturbed(const Reference& reference);

 private:
  [[nodiscard]] fs::path file(const char* name) const { return context_.folder / name; }
  [[nodiscard]] bool on_faulty_device() const { return case_.work == Work::store || !is_kill(case_.fault); }
  [[nodiscard]] std::vector<std::string> work_command() const;
  [[nodiscard]] std::vector<std::string> store_command(const char* action) const;
  [[nodiscard]] Result<Child> start(const std::vector<std::string>& command, const char* name) const;

  /// Waits for the child's end; at the limit it is a hang: dumped, ended by force. False then.
  bool await_end(Child& child, Ended& how, const char* what);
  void hang(const Child& child, const char* what);
  void find(const char* kind, std::string what) { outcome_.findings.push_back({kind, std::move(what)}); }

  /// Does the fault; false when there is nothing (any more) to do it to.
  bool inject(const Child& child);
  bool kill_a_helper(const Child& child);
  void break_device();
  void limit_memory(const Child& child) const;

  void look_for_leftovers();
  void judge_end(const Ended& how);
  void judge_numbers(const RunFiles& run, const Reference& reference, double seconds, const char* when);
  void take_up_again(const Reference& reference);
  /// What follows a kill is killed as well, at each later moment, and looked at as the first.
  void kill_again(const std::vector<std::string>& command, const char* name, const Reference& reference);
  void look_for_acknowledged(const Reference& reference);

  const SoakCase& case_;
  const CaseContext& context_;
  Traces traces_;
  CaseOutcome outcome_;
  std::string victim_;  ///< the helper that was killed
  std::optional<std::string> remounted_;
  std::optional<CaseClock> clock_;
};

std::vector<std::string> CaseRun::work_command() const {
  if (case_.work == Work::store) {
    return store_command("write");
  }
  const auto space = case_.workload.find(' ');
  const std::string filter = "/" + parse_variant(case_.driver).slug + "(/|$)" +
                             (space == std::string::npos ? "" : ".*" + case_.workload.substr(space + 1));
  std::vector<std::string> command = {context_.program, "run", "--driver", case_.driver, "--profile", "smoke",
                                      "--blocks", "1", "--seed", std::to_string(context_.seed), "--workload",
                                      case_.workload.substr(0, space), "--filter", filter, "--no-report", "--progress",
                                      "plain", "--output", file("out").string()};
  if (on_faulty_device()) {
    command.insert(command.end(), {"--device", context_.device->path(), "--wipe", "--yes"});
  } else {
    command.insert(command.end(), {"--image-dir", file("images").string(), "--image-size", "2G"});
  }
  return command;
}

std::vector<std::string> CaseRun::store_command(const char* action) const {
  return {context_.program, "soak", action, "--driver", case_.driver, "--device", context_.device->path(), "--written",
          file("acknowledged").string(), "--seed", std::to_string(context_.seed)};
}

Result<Child> CaseRun::start(const std::vector<std::string>& command, const char* name) const {
  SBENCH_TRY(write_text_atomic(file((std::string(name) + ".command").c_str()), fmt::format("{}\n", fmt::join(command, " "))));
  return Child::start(command, file((std::string(name) + ".out").c_str()), file((std::string(name) + ".err").c_str()),
                      clock_ ? clock_->environment() : std::vector<std::string>());
}

bool CaseRun::await_end(Child& child, Ended& how, const char* what) {
  const auto until = Clock::now() + context_.hang_after;
  auto look_at = Clock::now();
  while (!child.ended(how)) {
    if (Clock::now() > until) {
      hang(child, what);
      for (int waited = 0; waited < 10'000 && !child.ended(how); ++waited) {
        nap();
      }
      return false;
    }
    if (Clock::now() > look_at) {
      traces_.look_at(child.pid());
      look_at = Clock::now() + kLookAgain;
    }
    nap();
  }
  outcome_.rss_max_kib = std::max(outcome_.rss_max_kib, how.rss_max_kib);
  return true;
}

void CaseRun::hang(const Child& child, const char* what) {
  auto processes = descendants(child.pid(), context_.own);
  processes.push_back(child.pid());
  static_cast<void>(write_text_atomic(file("hang.txt"), dump_stacks(processes)));
  find("hang", fmt::format("{} did not end in {} s; the stacks are in {}", what, context_.hang_after.count(),
                           file("hang.txt").string()));
  if (context_.device != nullptr) {
    context_.device->heal();
  }
  traces_.end_all();
}

bool CaseRun::inject(const Child& child) {
  switch (case_.fault) {
    case Fault::kill_harness:
      return ::kill(child.pid(), SIGKILL) == 0;
    case Fault::kill_helper:
      return kill_a_helper(child);
    case Fault::remount_read_only:
      remounted_ = remount_one(child.pid(), case_.amount / 4096);
      return remounted_.has_value();
    case Fault::clock_step: {
      const auto seconds = static_cast<std::int64_t>(case_.amount);
      return clock_->step(seconds % 2 == 0 ? seconds : -seconds).ok();
    }
    case Fault::memory_limit:
      limit_memory(child);
      return true;
    default:
      break_device();
      return true;
  }
}

/// One of those alive now, drawn by the case's amount.
bool CaseRun::kill_a_helper(const Child& child) {
  auto without = context_.own;
  without.insert(child.pid());
  auto helpers = descendants(child.pid(), context_.own);
  for (const pid_t pid : descendants(::getpid(), without)) {  // a guard is nobody's child
    if (std::find(helpers.begin(), helpers.end(), pid) == helpers.end()) {
      helpers.push_back(pid);
    }
  }
  if (helpers.empty()) {
    return false;
  }
  std::sort(helpers.begin(), helpers.end());
  const pid_t chosen = helpers[case_.amount / 4096 % helpers.size()];
  victim_ = describe_process(chosen);
  return ::kill(chosen, SIGKILL) == 0;
}

void CaseRun::break_device() {
  FaultSwitches& switches = context_.device->switches();
  if (!case_.whole_device) {
    const std::uint64_t middle = switches.last_offset;
    switches.from = middle - std::min(middle, case_.amount / 2);
    switches.until = middle + case_.amount;
  }
  switch (case_.fault) {
    case Fault::device_full: switches.room_bytes = static_cast<std::int64_t>(case_.amount); break;
    case Fault::read_error: switches.read_errno = EIO; break;
    case Fault::write_error: switches.write_errno = EIO; break;
    case Fault::flush_error: switches.flush_errno = EIO; break;
    case Fault::slow_device: switches.delay_us = static_cast<unsigned>(case_.amount); break;
    case Fault::read_only:
      switches.from = 0;
      switches.until = ~std::uint64_t{0};
      switches.write_errno = EROFS;
      break;
    default:  // removed
      switches.from = 0;
      switches.until = ~std::uint64_t{0};
      switches.read_errno = EIO;
      switches.write_errno = EIO;
      switches.flush_errno = EIO;
  }
}

void CaseRun::limit_memory(const Child& child) const {
  auto processes = descendants(child.pid(), context_.own);
  processes.push_back(child.pid());
  for (const pid_t pid : processes) {
    std::uint64_t pages = 0;
    std::istringstream(read_trimmed(fmt::format("/proc/{}/statm", pid))) >> pages;
    const std::uint64_t bytes = pages * 4096 + case_.amount;
    const rlimit limit{bytes, bytes};
    ::prlimit(pid, RLIMIT_AS, &limit, nullptr);
  }
}

void CaseRun::look_for_leftovers() {
  auto left = traces_.left(kLeftPatience_ms);
  if (left.empty()) {
    return;
  }
  const auto cleaned = run_program({context_.program, "clean"});
  const auto still = traces_.left(1000);
  if (still.empty()) {
    outcome_.cleaned = true;
    return;
  }
  std::vector<pid_t> processes = descendants(::getpid(), context_.own);
  static_cast<void>(write_text_atomic(file("left.txt"), dump_stacks(processes)));
  find("leak", fmt::format("{}{}", fmt::join(still, ", "),
                           cleaned.ok() ? "" : "; sbench clean: " + cleaned.error().what));
  traces_.end_all();
  static_cast<void>(traces_.left(5000));
}

/// The exit code is one of those for what happened, and the reason is said.
void CaseRun::judge_end(const Ended& how) {
  const std::string said = last_lines(file("work.err"));
  if (case_.fault == Fault::kill_harness) {
    if (how.signal != SIGKILL) {
      find("unnamed", fmt::format("killed, and ended with exit code {} and signal {}", how.exit_code, how.signal));
    }
    return;
  }
  constexpr int kNotLoaded = 127;
  if (case_.fault == Fault::memory_limit && how.exit_code == kNotLoaded &&
      said.find("error while loading shared libraries") != std::string::npos) {
    return;  // it had not begun: the system's loader is who names it
  }
  if (how.signal != 0 || (how.exit_code != kExitOk && how.exit_code != kExitError)) {
    find("unnamed", fmt::format("ended with exit code {} and signal {}; it said: {}", how.exit_code, how.signal, said));
  } else if (how.exit_code == kExitError && said.find("FAILED") == std::string::npos &&
             said.find("sbench: ") == std::string::npos) {
    find("unnamed", fmt::format("ended with exit code 1 and named no damage; it said: {}", said));
  }
}

void CaseRun::judge_numbers(const RunFiles& run, const Reference& reference, double seconds, const char* when) {
  for (const auto& [name, sample] : run.samples) {
    ++outcome_.samples;
    const auto expected = reference.samples.find(name);
    if (expected == reference.samples.end()) {
      find("wrong_number", fmt::format("{}: {} is no case of an undisturbed run", when, name));
    } else if (const auto exact = exact_part(sample); exact != expected->second) {
      find("wrong_number", fmt::format("{}: {} has {}, undisturbed {}", when, name, exact.dump(), expected->second.dump()));
    }
    if (const auto against = contradiction_in(sample); !against.empty()) {
      find("wrong_number", fmt::format("{}: {}: {}", when, name, against));
    }
    const double real_s = sample.at("real_time").get<double>() * 1e-3;
    if (real_s < 0 || real_s > seconds) {
      find("wrong_number", fmt::format("{}: {} took {} s of {} s", when, name, real_s, seconds));
    }
  }
}

void CaseRun::kill_again(const std::vector<std::string>& command, const char* name, const Reference& reference) {
  for (const double moment : case_.later_moments) {
    auto child = start(command, name);
    if (!child.ok()) {
      return;
    }
    const auto until = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                          std::chrono::duration<double>(moment * reference.seconds));
    Ended how;
    bool over = false;
    while (!(over = child->ended(how)) && Clock::now() < until) {
      nap();
    }
    if (over) {
      continue;
    }
    traces_.look_at(child->pid());
    ::kill(child->pid(), SIGKILL);
    if (await_end(*child, how, "a killed program")) {
      outcome_.later_kills += how.signal == SIGKILL ? 1 : 0;
      look_for_leftovers();
    }
  }
}

void CaseRun::take_up_again(const Reference& reference) {
  const auto before = read_run(file("out"));
  if (!before.ok()) {
    find("result", before.error().what);
    return;
  }
  if (!before->started) {
    return;  // nothing was measured yet, nothing is lost
  }
  if (before->complete && before->samples.size() == reference.samples.size()) {
    return;
  }
  const std::vector<std::string> resume = {context_.program, "run", "--resume", file("out").string(), "--no-report",
                                           "--progress", "plain", "--wipe", "--yes"};
  const auto begun = Clock::now();
  kill_again(resume, "resume", reference);
  auto child = start(resume, "resume");
  Ended how;
  if (!child.ok() || !await_end(*child, how, "the resumed run")) {
    return;
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  const auto after = read_run(file("out"));
  if (!after.ok()) {
    find("result", "resumed: " + after.error().what);
  } else if ((how.exit_code != kExitOk && how.exit_code != kExitError) || !after->complete ||
             after->samples.size() != reference.samples.size()) {
    find("result", fmt::format("resumed: exit code {}, signal {}, {} of {} samples, complete: {}; it said: {}",
                               how.exit_code, how.signal, after->samples.size(), reference.samples.size(),
                               after->complete, last_lines(file("resume.err"))));
  } else {
    RunFiles added = *after;
    std::erase_if(added.samples, [&](const auto& sample) { return before->samples.contains(sample.first); });
    judge_numbers(added, reference, seconds, "resumed");
  }
}

void CaseRun::look_for_acknowledged(const Reference& reference) {
  kill_again(store_command("check"), "check", reference);
  auto child = start(store_command("check"), "check");
  Ended how;
  if (!child.ok() || !await_end(*child, how, "the check of acknowledged bytes")) {
    return;
  }
  if (how.exit_code != kExitOk) {
    find("lost_bytes", last_lines(file("check.err")));
  } else {
    std::istringstream(last_lines(file("check.out"))) >> outcome_.acknowledged;
  }
}

Result<Reference> CaseRun::undisturbed() {
  SBENCH_TRY(make_directories(file("images")));
  SBENCH_TRY_SET(Child child, start(work_command(), "work"));
  Ended how;
  const auto begun = Clock::now();
  Reference reference;
  const bool ended = await_end(child, how, "the undisturbed work");
  if (ended && last_lines(file("work.err")).find("failed the semantic check") != std::string::npos) {
    return plain_error(ENOTSUP, "{} fails the semantic check", case_.driver);
  }
  if (!ended || how.exit_code != kExitOk) {
    return plain_error(EPROTO, "{}, undisturbed, ended with exit code {} and signal {}: {}", case_.driver, how.exit_code,
                       how.signal, last_lines(file("work.err")));
  }
  reference.seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  SBENCH_TRY_SET(const RunFiles run, read_run(file("out")));
  for (const auto& [name, sample] : run.samples) {
    if (const auto against = contradiction_in(sample); !against.empty()) {
      return plain_error(EPROTO, "{}, undisturbed: {}: {}", case_.driver, name, against);
    }
    reference.samples[name] = exact_part(sample);
  }
  if (case_.work == Work::run && reference.samples.empty()) {
    return plain_error(EPROTO, "{} measured nothing in {}", case_.driver, case_.workload);
  }
  const auto left = traces_.left(kLeftPatience_ms);
  if (!left.empty()) {
    return plain_error(EPROTO, "{}, undisturbed, left {}", case_.driver, fmt::join(left, ", "));
  }
  return reference;
}

Result<CaseOutcome> CaseRun::disturbed(const Reference& reference) {
  SBENCH_TRY(make_directories(file("images")));
  if (case_.fault == Fault::clock_step) {
    SBENCH_TRY_SET(clock_, CaseClock::make(file("clock")));
  }
  const auto hits_before = context_.device->switches().hits.load();
  SBENCH_TRY_SET(Child child, start(work_command(), "work"));
  const auto begun = Clock::now();
  const auto after = [&](double share) {
    return begun + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(share * reference.seconds));
  };
  Ended how;
  bool over = false;
  while (!(over = child.ended(how)) && Clock::now() < after(case_.moment)) {
    nap();
  }
  traces_.look_at(child.pid());
  bool done = false;
  while (!over && !(done = inject(child)) && !(over = child.ended(how))) {  // a helper may be yet to come
    nap();
  }
  while (!over && !(over = child.ended(how)) && Clock::now() < after(case_.moment + case_.window)) {
    nap();
  }
  if (!over) {
    if (case_.work == Work::run) {
      context_.device->heal();
      if (remounted_) {
        remount_writable(child.pid(), *remounted_);
      }
    }
    over = await_end(child, how, "the disturbed work");
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begun).count();
  context_.device->heal();
  outcome_.hit = done && (!is_of_device(case_.fault) || context_.device->switches().hits.load() > hits_before);
  outcome_.hit = outcome_.hit && (!clock_ || clock_->seen());
  look_for_leftovers();
  if (!over) {
    return outcome_;
  }
  if (case_.fault == Fault::kill_harness && how.signal == 0) {
    outcome_.hit = done = false;  // it had ended by itself
  }
  if (done) {
    judge_end(how);
  }
  if (case_.work == Work::store) {
    look_for_acknowledged(reference);
  } else {
    const auto run = read_run(file("out"));
    if (run.ok()) {
      judge_numbers(*run, reference, seconds, "disturbed");
    }
    take_up_again(reference);
  }
  look_for_leftovers();
  return outcome_;
}

}  // namespace

Result<Reference> undisturbed(const SoakCase& each, const CaseContext& context) {
  return CaseRun(each, context).undisturbed();
}

Result<CaseOutcome> run_case(const SoakCase& each, const Reference& reference, const CaseContext& context) {
  return CaseRun(each, context).disturbed(reference);
}

}  // namespace sbench::soak
