#include "drivers/devicemapper/dm_device.h"

#include <fcntl.h>
#include <libdevmapper.h>
#include <unistd.h>

#include <cstdarg>
#include <memory>
#include <string_view>

#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"

namespace sbench::devicemapper {

namespace {

struct TaskCloser {
  void operator()(dm_task* task) const { dm_task_destroy(task); }
};
using Task = std::unique_ptr<dm_task, TaskCloser>;

constexpr int kErrorLevel = 3;  // _LOG_ERR of the library's log

std::string& last_words() {
  static std::string text;
  return text;
}

/// The library would print to stderr; what it says belongs into the Error instead.
__attribute__((format(printf, 5, 6))) void keep_last_words(int level, const char*, int, int, const char* format, ...) {
  if ((level & 7) > kErrorLevel || !last_words().empty()) {
    return;
  }
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  last_words() = text;
}

bool udev_runs() { return ::access("/run/udev/control", F_OK) == 0; }

Result<Task> make_task(int type, const std::string& name) {
  static const bool once = [] {
    dm_log_with_errno_init(keep_last_words);
    dm_udev_set_sync_support(udev_runs() ? 1 : 0);
    return true;
  }();
  static_cast<void>(once);
  last_words().clear();
  Task task(dm_task_create(type));
  if (task == nullptr || (!name.empty() && dm_task_set_name(task.get(), name.c_str()) == 0)) {
    return plain_error(ENOMEM, "cannot prepare a device-mapper request for {}: {}", name, last_words());
  }
  return task;
}

Status run(dm_task* task, const std::string& name, std::string_view what) {
  if (dm_task_run(task) != 0) {
    return {};
  }
  const int code = dm_task_get_errno(task);
  // A missing thin device or btree entry is ENODATA inside the kernel, a missing dm device ENXIO.
  const int plain = code == ENODATA || code == ENXIO ? ENOENT : code == 0 ? EIO : code;
  return make_error(plain, "cannot {} the device-mapper device {}{}{}", what, name, last_words().empty() ? "" : ": ",
                    last_words());
}

/// A request that makes or removes nodes: udev's part is waited for.
Status run_and_settle(dm_task* task, const std::string& name, std::string_view what) {
  std::uint32_t cookie = 0;
  const bool wait = udev_runs();
  if (wait && dm_task_set_cookie(task, &cookie, 0) == 0) {
    return plain_error(EIO, "cannot {} {}: no semaphore to wait for udev with: {}", what, name, last_words());
  }
  Status status = run(task, name, what);
  if (wait) {
    dm_udev_wait(cookie);
  }
  dm_task_update_nodes();
  return status;
}

/// A device without a table. Not left to the library together with the table: it forgets why the table was refused.
Status make_empty(const std::string& name, const std::string& uuid) {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_CREATE, name));
  if (dm_task_set_uuid(task.get(), uuid.c_str()) == 0) {
    return plain_error(EINVAL, "cannot name the device-mapper device {}: {}", name, last_words());
  }
  return run(task.get(), name, "make");
}

Status load(const std::string& name, const DmTable& table) {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_RELOAD, name));
  if (dm_task_add_target(task.get(), 0, table.size_bytes / kSectorBytes, table.type.c_str(), table.arguments.c_str()) ==
      0) {
    return plain_error(EINVAL, "cannot describe the device-mapper device {}: {}", name, last_words());
  }
  return run(task.get(), name, "load the table of");
}

/// What the kernel says of the device's first target.
Result<std::string> first_target(int type, const std::string& name) {
  SBENCH_TRY_SET(const Task task, make_task(type, name));
  SBENCH_TRY(run(task.get(), name, "read the state of"));
  std::uint64_t start = 0;
  std::uint64_t length = 0;
  char* target = nullptr;
  char* text = nullptr;
  dm_get_next_target(task.get(), nullptr, &start, &length, &target, &text);
  return std::string(text != nullptr ? text : "");
}

}  // namespace

bool kernel_has_device_mapper() {
  // A node alone says nothing: libdevmapper's tools make one on any kernel. Opening it loads the module.
  if (Fd(::open("/dev/mapper/control", O_RDWR | O_CLOEXEC)).valid()) {
    return true;
  }
  const auto misc = read_text("/proc/misc");  // "236 device-mapper" wherever dm is built in or loaded
  return misc.ok() && misc->find(" device-mapper\n") != std::string::npos;
}

std::filesystem::path dm_path(const std::string& name) { return std::filesystem::path(dm_dir()) / name; }

Status dm_create(const std::string& name, const std::string& uuid, const DmTable& table) {
  SBENCH_TRY(make_empty(name, uuid));
  Status started = load(name, table);
  if (started.ok()) {
    started = dm_resume(name);
  }
  if (!started.ok()) {
    static_cast<void>(dm_remove(name, false));  // the first error is the one to report
  }
  return started;
}

Status dm_remove(const std::string& name, bool when_unused) {
  constexpr int kPatience_ms = 2000;  // something may look at a device for a moment: udev's rules, libblkid
  constexpr int kStep_ms = 50;
  return while_busy(kPatience_ms, kStep_ms, [&]() -> Status {
    SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_REMOVE, name));
    if (when_unused) {
      dm_task_deferred_remove(task.get());
    }
    return run_and_settle(task.get(), name, "remove");
  });
}

Status dm_cancel_removal(const std::string& name) {
  const Status cancelled = dm_message(name, "@cancel_deferred_remove");
  return cancelled.ok() || cancelled.error().code == EINVAL ? Status() : cancelled;
}

Status dm_suspend(const std::string& name) {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_SUSPEND, name));
  return run(task.get(), name, "suspend");
}

Status dm_resume(const std::string& name) {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_RESUME, name));
  return run_and_settle(task.get(), name, "resume");
}

Status dm_message(const std::string& name, const std::string& text) {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_TARGET_MSG, name));
  if (dm_task_set_sector(task.get(), 0) == 0 || dm_task_set_message(task.get(), text.c_str()) == 0) {
    return plain_error(ENOMEM, "cannot prepare the message '{}' to {}", text, name);
  }
  return run(task.get(), name, "send '" + text + "' to");
}

Result<std::string> dm_status(const std::string& name) { return first_target(DM_DEVICE_STATUS, name); }

Result<std::string> dm_table(const std::string& name) { return first_target(DM_DEVICE_TABLE, name); }

Result<std::optional<DmDevice>> dm_find(const std::string& name) {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_INFO, name));
  dm_info info{};
  if (const Status asked = run(task.get(), name, "look at"); !asked.ok()) {
    return asked.error().code == ENOENT ? Result<std::optional<DmDevice>>(std::nullopt) : asked.error();
  }
  if (dm_task_get_info(task.get(), &info) == 0) {
    return plain_error(EIO, "cannot look at {}: {}", name, last_words());
  }
  if (info.exists == 0) {
    return std::optional<DmDevice>();
  }
  const char* uuid = dm_task_get_uuid(task.get());
  return std::optional<DmDevice>(DmDevice{uuid != nullptr ? uuid : "", info.open_count, info.deferred_remove != 0});
}

Result<std::vector<std::string>> dm_list() {
  SBENCH_TRY_SET(const Task task, make_task(DM_DEVICE_LIST, ""));
  SBENCH_TRY(run(task.get(), "all", "list"));
  std::vector<std::string> names;
  const dm_names* entry = dm_task_get_names(task.get());
  if (entry == nullptr || entry->dev == 0) {
    return names;
  }
  for (std::uint32_t next = 0;; entry = reinterpret_cast<const dm_names*>(reinterpret_cast<const char*>(entry) + next)) {
    if (std::string_view(entry->name).starts_with(kNamePrefix)) {
      names.emplace_back(entry->name);
    }
    if (next = entry->next; next == 0) {
      return names;
    }
  }
}

std::optional<std::string> dm_target_version(const std::string& type) {
  const auto task = make_task(DM_DEVICE_GET_TARGET_VERSION, type);
  if (!task.ok() || dm_task_run(task->get()) == 0) {
    return std::nullopt;
  }
  const dm_versions* found = dm_task_get_versions(task->get());
  if (found == nullptr) {
    return std::nullopt;
  }
  return fmt::format("{}.{}.{}", found->version[0], found->version[1], found->version[2]);
}

}  // namespace sbench::devicemapper
