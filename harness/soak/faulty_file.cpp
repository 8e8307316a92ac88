#include "harness/soak/faulty_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "drivers/base/file.h"
#include "drivers/base/fixed_files.h"
#include "drivers/base/shared_memory.h"
#include "drivers/block/device.h"

namespace sbench::soak {
namespace {

constexpr const char* kName = "image";
constexpr NodeId kFileNode = 2;
constexpr HandleId kHandle = 1;

/// One directory with one file.
class FaultyFile final : public FixedFiles {
 public:
  FaultyFile(int image, std::shared_ptr<FaultSwitches> switches) : image_(image), switches_(std::move(switches)) {}

  Result<Entry> lookup(NodeId, std::string_view name) override {
    if (name != kName) {
      return make_error(ENOENT, "no such file");
    }
    Entry entry;
    entry.node = kFileNode;
    SBENCH_TRY_SET(entry.attributes, attributes(kFileNode, 0));
    return entry;
  }

  Result<struct stat> attributes(NodeId node, HandleId) override {
    struct stat status {};
    if (::fstat(image_, &status) != 0) {
      return errno_error("cannot inspect the image");
    }
    status.st_ino = node;
    status.st_mode = node == kFileNode ? S_IFREG | 0600 : S_IFDIR | 0700;
    status.st_nlink = 1;
    return status;
  }
  Result<struct stat> set_attributes(NodeId node, HandleId handle, unsigned, const struct stat&) override {
    return attributes(node, handle);
  }
  Result<OpenFile> open(NodeId node, int) override {
    if (node != kFileNode) {
      return make_error(EISDIR, "a directory");
    }
    OpenFile file;
    file.handle = kHandle;
    file.direct = true;
    return file;
  }

  Result<std::size_t> read(NodeId, HandleId, std::span<std::byte> into, std::uint64_t offset) override {
    SBENCH_TRY(suffer(switches_->read_errno, offset, into.size(), false));
    const ssize_t count = ::pread(image_, into.data(), into.size(), static_cast<off_t>(offset));
    return count >= 0 ? Result<std::size_t>(static_cast<std::size_t>(count)) : errno_error("cannot read the image");
  }
  Result<std::size_t> write(NodeId, HandleId, std::span<const std::byte> from, std::uint64_t offset) override {
    SBENCH_TRY(suffer(switches_->write_errno, offset, from.size(), true));
    SBENCH_TRY(take_room(offset, from.size()));
    const ssize_t count = ::pwrite(image_, from.data(), from.size(), static_cast<off_t>(offset));
    return count >= 0 ? Result<std::size_t>(static_cast<std::size_t>(count)) : errno_error("cannot write the image");
  }
  Status allocate(NodeId, HandleId, int mode, std::uint64_t offset, std::uint64_t length) override {
    SBENCH_TRY(suffer(switches_->write_errno, offset, length, true));
    if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) == 0) {
      return make_error(EOPNOTSUPP, "only holes are made here");
    }
    const int hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return ::fallocate(image_, hole, static_cast<off_t>(offset), static_cast<off_t>(length)) == 0
               ? Status()
               : Status(errno_error("cannot punch a hole"));
  }
  Status sync_file(NodeId, HandleId, bool) override { return suffer(switches_->flush_errno, 0, 0, true); }

  Status read_directory(NodeId, HandleId, std::uint64_t cookie, const TakeEntry& take) override {
    if (cookie == 0) {
      take({kName, kFileNode, DT_REG, 1});
    }
    return {};
  }

 private:
  Status suffer(const std::atomic<int>& wanted, std::uint64_t offset, std::uint64_t length, bool changes) {
    ++switches_->requests;
    if (length > 0) {
      switches_->last_offset = offset;
    }
    if (const unsigned delay_us = switches_->delay_us; delay_us > 0) {
      ++switches_->hits;
      const timespec span{delay_us / 1'000'000, static_cast<long>(delay_us % 1'000'000) * 1000};
      ::nanosleep(&span, nullptr);
    }
    const int code = wanted;
    if (code == 0 || (length > 0 && (offset >= switches_->until || offset + length <= switches_->from))) {
      return {};
    }
    return hit(code, changes);
  }
  Status hit(int code, bool changes) {
    ++switches_->hits;
    switches_->write_hits += changes ? 1 : 0;
    return make_error(code, "a fault on purpose");
  }
  Status take_room(std::uint64_t offset, std::uint64_t length) {
    if (switches_->room_bytes == INT64_MAX) {
      return {};
    }
    const off_t hole = ::lseek(image_, static_cast<off_t>(offset), SEEK_HOLE);
    if (hole < 0 || static_cast<std::uint64_t>(hole) >= offset + length) {
      return {};  // all of it was written before
    }
    if ((switches_->room_bytes -= static_cast<std::int64_t>(length)) < 0) {
      switches_->room_bytes = 0;
      return hit(ENOSPC, true);
    }
    return {};
  }

  int image_;
  std::shared_ptr<FaultSwitches> switches_;
};

/// A run refuses a device that a process has open, and an auto-clearing one goes when nobody has it open: so it is left
/// in a socket. When this process dies, it goes as well.
Status send_away(const Fd& fd, Fd& from, Fd& to) {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return errno_error("cannot make a socket pair");
  }
  from = Fd(ends[0]);
  to = Fd(ends[1]);
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  const int number = fd.get();
  std::memcpy(CMSG_DATA(header), &number, sizeof(number));
  return ::sendmsg(from.get(), &message, 0) == 1 ? Status() : Status(errno_error("cannot keep the loop device"));
}

}  // namespace

Result<std::unique_ptr<FaultyDevice>> FaultyDevice::make(const std::filesystem::path& folder,
                                                         std::uint64_t size_bytes) {
  std::unique_ptr<FaultyDevice> device(new FaultyDevice());
  device->folder_ = folder;
  device->image_ = Fd(::memfd_create("sbench-faulty-device", MFD_CLOEXEC));
  if (!device->image_.valid() || ::ftruncate(device->image_.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("cannot make a device of {} bytes in memory", size_bytes);
  }
  device->switches_ = make_shared_memory<FaultSwitches>();
  fuse::ServerOptions options;
  options.session.name = "faulty-device";
  options.session.passthrough = false;
  options.capabilities = fuse::kPoolServerCapabilities;
  options.keep_fds = {device->image_.get()};
  SBENCH_TRY_SET(device->server_, fuse::ServerProcess::start(folder, options, [&, image = device->image_.get()] {
    ::signal(SIGTERM, SIG_IGN);  // what ends the soak lets the case that goes on end with its device
    ::signal(SIGINT, SIG_IGN);
    return Result<std::unique_ptr<FileSystem>>(std::make_unique<FaultyFile>(image, device->switches_));
  }));
  SBENCH_TRY_SET(auto attached, Device::attach_image(folder / kName));
  device->path_ = attached->path();
  SBENCH_TRY_SET(const Fd loop, open_file(device->path_, O_RDWR));
  SBENCH_TRY(send_away(loop, device->held_, device->holds_));
  return device;
}

FaultyDevice::~FaultyDevice() {
  heal();
  held_.reset();
  holds_.reset();
  server_.reset();
}

void FaultyDevice::heal() {
  switches_->read_errno = 0;
  switches_->write_errno = 0;
  switches_->flush_errno = 0;
  switches_->from = 0;
  switches_->until = ~std::uint64_t{0};
  switches_->room_bytes = INT64_MAX;
  switches_->delay_us = 0;
}

}  // namespace sbench::soak
