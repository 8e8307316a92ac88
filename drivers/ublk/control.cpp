#include "drivers/ublk/control.h"

#include <fcntl.h>
#include <liburing.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "drivers/base/file.h"

namespace sbench::ublk {

namespace {

constexpr const char* kControl = "/dev/ublk-control";
constexpr const char* kDevices = "/sys/class/ublk-char";
constexpr const char* kDevicePrefix = "ublkc";
constexpr std::uint64_t kOurs = 0x73626e6368ULL << 24;  ///< "sbnch": ublksrv_flags of devices that sbench serves
constexpr std::uint64_t kPidMask = 0xffffff;            ///< with the serving process
constexpr unsigned kNoSuchDevice = ~0U - 1;

bool serves(std::uint64_t pid) {
  return read_trimmed(fmt::format("/proc/{}/comm", pid)).starts_with("sbench");
}

/// Whether someone has it open, mounted for example. One that the kernel stopped cannot be opened.
bool in_use(unsigned id) {
  const Fd fd(::open(fmt::format("/dev/ublkb{}", id).c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
  return !fd.valid() && errno == EBUSY;
}

}  // namespace

Result<std::unique_ptr<Control>> Control::open() {
  SBENCH_TRY_SET(Fd fd, open_file(kControl, O_RDWR));
  return std::unique_ptr<Control>(new Control(std::move(fd)));
}

Control::~Control() = default;

/// Each command on a ring of its own: they may last, and come from any thread.
Status Control::run(unsigned operation, const ublksrv_ctrl_cmd& command, const char* what) const {
  io_uring ring{};
  io_uring_params parameters{};
  parameters.flags = IORING_SETUP_SQE128;  // the command does not fit into an ordinary entry
  if (const int failed = ::io_uring_queue_init_params(2, &ring, &parameters); failed < 0) {
    return make_error(-failed, "cannot make an io_uring for {}", kControl);
  }
  io_uring_sqe* entry = ::io_uring_get_sqe(&ring);
  SBENCH_CHECK(entry != nullptr);  // the ring is new
  std::memset(static_cast<void*>(entry), 0, 2 * sizeof *entry);
  entry->opcode = IORING_OP_URING_CMD;
  entry->fd = fd_.get();
  entry->cmd_op = operation;
  std::memcpy(static_cast<void*>(entry->cmd), &command, sizeof command);
  int result = ::io_uring_submit(&ring);
  if (result >= 0) {
    io_uring_cqe* completion = nullptr;
    do {
      result = ::io_uring_wait_cqe(&ring, &completion);
    } while (result == -EINTR);
    result = result == 0 ? completion->res : result;
  }
  ::io_uring_queue_exit(&ring);
  return result >= 0 ? Status() : Status(make_error(-result, "cannot {} ublk device {}", what, command.dev_id));
}

Status Control::add(ublksrv_ctrl_dev_info& info) {
  info.ublksrv_flags = kOurs | (static_cast<std::uint64_t>(::getpid()) & kPidMask);
  ublksrv_ctrl_cmd command{};
  command.dev_id = info.dev_id = ~0U;
  command.queue_id = static_cast<__u16>(~0U);
  command.addr = reinterpret_cast<std::uintptr_t>(&info);
  command.len = sizeof info;
  return run(UBLK_CMD_ADD_DEV, command, "add");
}

Status Control::set_parameters(unsigned id, ublk_params parameters) {
  ublksrv_ctrl_cmd command{};
  command.dev_id = id;
  command.queue_id = static_cast<__u16>(~0U);
  parameters.len = sizeof parameters;
  command.addr = reinterpret_cast<std::uintptr_t>(&parameters);
  command.len = sizeof parameters;
  return run(UBLK_CMD_SET_PARAMS, command, "set up");
}

Status Control::start(unsigned id) {
  ublksrv_ctrl_cmd command{};
  command.dev_id = id;
  command.queue_id = static_cast<__u16>(~0U);
  command.data[0] = static_cast<__u64>(::getpid());
  return run(UBLK_CMD_START_DEV, command, "start");
}

Status Control::stop(unsigned id) {
  ublksrv_ctrl_cmd command{};
  command.dev_id = id;
  command.queue_id = static_cast<__u16>(~0U);
  return run(UBLK_CMD_STOP_DEV, command, "stop");
}

Status Control::remove(unsigned id) {
  ublksrv_ctrl_cmd command{};
  command.dev_id = id;
  command.queue_id = static_cast<__u16>(~0U);
  return run(UBLK_CMD_DEL_DEV, command, "delete");
}

Result<ublksrv_ctrl_dev_info> Control::info(unsigned id) {
  ublksrv_ctrl_dev_info info{};
  ublksrv_ctrl_cmd command{};
  command.dev_id = id;
  command.queue_id = static_cast<__u16>(~0U);
  command.addr = reinterpret_cast<std::uintptr_t>(&info);
  command.len = sizeof info;
  SBENCH_TRY(run(UBLK_CMD_GET_DEV_INFO, command, "look at"));
  return info;
}

Status usable() {
  SBENCH_TRY_SET(const auto control, Control::open());
  const auto info = control->info(kNoSuchDevice);
  return info.ok() || info.error().code == ENODEV ? Status() : Status(info.error());
}

Result<std::vector<std::string>> remove_abandoned_exports() {
  std::vector<std::string> removed;
  std::vector<unsigned> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(kDevices, error)) {
    const std::string name = entry.path().filename();
    if (name.starts_with(kDevicePrefix)) {
      ids.push_back(static_cast<unsigned>(std::atoi(name.c_str() + std::strlen(kDevicePrefix))));
    }
  }
  if (ids.empty() || ::access(kControl, R_OK | W_OK) != 0) {
    return removed;
  }
  SBENCH_TRY_SET(const auto control, Control::open());
  for (const unsigned id : ids) {
    const auto info = control->info(id);
    if (!info.ok() || (info->ublksrv_flags & ~kPidMask) != kOurs || serves(info->ublksrv_flags & kPidMask) || in_use(id)) {
      continue;
    }
    static_cast<void>(control->stop(id));  // the kernel may have done it
    SBENCH_TRY(control->remove(id));
    removed.push_back(fmt::format("ublkb{}", id));
  }
  return removed;
}

}  // namespace sbench::ublk
