#include "harness/guest/guest_run.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

#include "drivers/base/file.h"
#include "drivers/base/usage_error.h"
#include "harness/guest/guest_init.h"
#include "harness/guest/uml.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr const char* kGuestDevice = "/dev/ubda";

std::vector<std::string> inner_command(const GuestRun& run, const fs::path& program) {
  std::vector<std::string> words = {program, "run", "--progress", run.progress};
  const auto add = [&words](const std::string& name, const std::string& value) {
    words.insert(words.end(), {name, value});
  };
  if (run.resume) {
    add("--resume", run.output);
    words.insert(words.end(), {"--wipe", "--yes"});
    return words;
  }
  const RunRequest& request = run.request;
  for (const auto& driver : request.drivers) {
    add("--driver", driver);
  }
  for (const auto& workload : request.workloads) {
    add("--workload", workload);
  }
  for (const auto& option : request.storage_opts) {
    add("--storage-opt", option);
  }
  if (request.all) {
    words.emplace_back("--all");
  }
  if (!request.filter.empty()) {
    add("--filter", request.filter);
  }
  if (request.blocks > 0) {
    add("--blocks", std::to_string(request.blocks));
  }
  if (request.budget_s > 0) {
    add("--budget", std::to_string(request.budget_s) + "s");
  }
  if (run.dry_run) {
    words.emplace_back("--dry-run");
  }
  for (const auto& [name, value] : std::map<std::string, std::string>{{"--in", "uml"},
                                                                      {"--device", kGuestDevice},
                                                                      {"--image-dir", request.image_dir},
                                                                      {"--image-size", request.image_size},
                                                                      {"--profile", request.profile},
                                                                      {"--seed", std::to_string(request.seed)},
                                                                      {"--kind", request.kind},
                                                                      {"--output", run.output}}) {
    add(name, value);
  }
  words.insert(words.end(), {"--wipe", "--yes"});
  return words;
}

/// A file without a name; the guest's kernel inherits the descriptor, and opens it by that.
Result<Fd> make_image(const RunRequest& request) {
  const std::uint64_t bytes = parse_size(request.image_size, "--image-size");
  Fd image(::open(request.image_dir.c_str(), O_TMPFILE | O_RDWR, 0600));
  if (!image.valid()) {
    std::string name = (fs::path(request.image_dir) / "sbench-uml-XXXXXX").string();  // file systems without O_TMPFILE
    image = Fd(::mkostemp(name.data(), 0));
    if (!image.valid()) {
      return errno_error("cannot make an image file in {}", request.image_dir);
    }
    ::unlink(name.c_str());
  }
  if (::ftruncate(image.get(), static_cast<off_t>(bytes)) != 0) {
    return errno_error("cannot make an image of {} in {}", request.image_size, request.image_dir);
  }
  return image;
}

std::string host_kernel() {
  utsname kernel{};
  ::uname(&kernel);
  return kernel.release;
}

}  // namespace

bool is_inner_run(const RunRequest& request) { return request.in == "uml" && inside_user_mode_linux(); }

Result<int> measure_in_uml(const GuestRun& run, Console& console) {
  if (!run.request.device.empty() && run.request.device != kGuestDevice) {
    throw UsageError("--in uml works on an image file; leave --device out, and choose the disk with --image-dir");
  }
  std::error_code failure;
  const fs::path program = fs::read_symlink("/proc/self/exe", failure);
  SBENCH_TRY_SET(const Fd image, make_image(run.request));
  GuestRun inner = run;
  inner.output = fs::absolute(run.output);
  if (!run.dry_run) {
    SBENCH_TRY(make_directories(inner.output));
  }
  GuestJob job;
  job.init = program;
  job.argv = inner_command(inner, program);
  job.environment = {{kTypedCommand, run.command},
                     {"DM_DISABLE_UDEV", "1"},
                     {"SBENCH_HOST_KERNEL", host_kernel()},
                     {"LANG", "C.UTF-8"},
                     {"GIT_CONFIG_COUNT", "1"},  // the tree belongs to another user than the guest's root
                     {"GIT_CONFIG_KEY_0", "safe.directory"},
                     {"GIT_CONFIG_VALUE_0", "*"}};
  add_uml_modules(job);
  job.visible.push_back(program.parent_path());
  if (!run.dry_run) {
    job.writable = {inner.output};
  }
  job.disks = {fmt::format("/proc/self/fd/{}", image.get())};
  job.time_limit_s = run.request.budget_s > 0 ? 2 * run.request.budget_s + 600 : 0;
  return run_in_uml(job, {[&console](std::string_view text) { console.out << text << std::flush; },
                          [&console](std::string_view text) { console.err << text << std::flush; }});
}

}  // namespace sbench
