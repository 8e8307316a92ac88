#include "drivers/fuse/session.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "drivers/base/file.h"
#include "drivers/fuse/session_state.h"

namespace sbench::fuse {

namespace {

constexpr std::size_t kPageBytes = 4096;

/// libfuse writes answers through write_reply(): each goes to the channel its request came from.
thread_local int channel_of_thread = -1;
thread_local const fuse_in_header* request_of_thread = nullptr;

struct FreeMemory {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<std::byte, FreeMemory>;

Memory allocate(std::size_t bytes) {
  auto* memory = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, bytes));
  need_memory(memory != nullptr);
  return Memory(memory);
}

/// A buffer in which the data of a WRITE begins on a page.
struct RequestBuffer {
  static constexpr std::size_t kBytes = kTransferBytesMax + kPageBytes;
  Memory memory = allocate(kBytes + kPageBytes);
  std::byte* begin = memory.get() + kPageBytes - wire::kWriteHeaderBytes;
};

/// Adds to the INIT answer what libfuse 3.14 cannot ask for.
void extend_init_reply(Session::State& state, fuse_out_header& header, std::span<std::byte> body) {
  const auto& asked = current_body<fuse_init_in>();
  state.kernel_minor = asked.minor;
  if (header.error != 0 || body.size() < sizeof(fuse_init_out)) {
    return;
  }
  fuse_init_out out{};
  std::memcpy(&out, body.data(), sizeof(out));
  const bool extended = (asked.flags & FUSE_INIT_EXT) != 0;
  out.flags |= asked.flags & (FUSE_HANDLE_KILLPRIV_V2 | FUSE_INIT_EXT);
  std::uint32_t stack_depth = 0;
  if (extended) {
    out.flags2 |= asked.flags2 & wire::kFlags2DirectIoAllowMmap;
    if (state.options.passthrough && (asked.flags2 & wire::kFlags2Passthrough) != 0) {
      out.flags2 |= wire::kFlags2Passthrough;
      stack_depth = 1;
      state.passthrough = true;
    }
  }
  std::memcpy(body.data(), &out, sizeof(out));
  std::memcpy(body.data() + wire::kInitStackDepthOffset, &stack_depth, sizeof(stack_depth));
}

ssize_t write_reply(int device, iovec* pieces, int count, void* userdata) {
  const fuse_in_header* request = request_of_thread;
  if (request != nullptr && request->opcode == FUSE_INIT && count == 2) {
    extend_init_reply(*static_cast<Session::State*>(userdata), *static_cast<fuse_out_header*>(pieces[0].iov_base),
                      {static_cast<std::byte*>(pieces[1].iov_base), pieces[1].iov_len});
  }
  return ::writev(channel_of_thread >= 0 ? channel_of_thread : device, pieces, count);
}

ssize_t read_request(int device, void* buffer, std::size_t bytes, void*) { return ::read(device, buffer, bytes); }

int thread_count(const SessionOptions& options) {
  constexpr int kThreadsMin = 4;
  constexpr int kThreadsMax = 16;
  const int processors = static_cast<int>(std::thread::hardware_concurrency());
  return options.threads > 0 ? options.threads : std::clamp(2 * processors, kThreadsMin, kThreadsMax);
}

Status mount_device(int device, const std::filesystem::path& target, const SessionOptions& options) {
  const std::string type = "fuse." + options.name;
  const std::string data =
      fmt::format("fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,max_read={}", device,
                  kTransferBytesMax);
  if (::mount(options.name.c_str(), target.c_str(), type.c_str(), MS_NOATIME, data.c_str()) != 0) {
    return errno_error("cannot mount {} on {}", type, target.string());
  }
  return {};
}

}  // namespace

const fuse_in_header* current_request() { return request_of_thread; }

std::span<std::byte> reply_buffer() {
  static thread_local const Memory memory = allocate(kTransferBytesMax);
  return {memory.get(), kTransferBytesMax};
}

Result<Fd> Session::State::clone_device(int flags) const {
  SBENCH_TRY_SET(Fd channel, open_file("/dev/fuse", O_RDWR | flags));
  const auto original = static_cast<std::uint32_t>(device.get());
  if (::ioctl(channel.get(), wire::kIoctlClone, &original) != 0) {
    return errno_error("cannot clone /dev/fuse");
  }
  return channel;
}

Status Session::State::answer_first_request() {
  const RequestBuffer buffer;
  const ssize_t bytes = ::read(device.get(), buffer.begin, RequestBuffer::kBytes);
  if (bytes < 0) {
    return errno_error("cannot read the kernel's first FUSE request");
  }
  process({buffer.begin, static_cast<std::size_t>(bytes)}, -1);
  return kernel_minor != 0 ? Status() : Status(plain_error(EPROTO, "the kernel's first FUSE request was no INIT"));
}

namespace {

constexpr std::uint32_t kShortBytesMax = 128 << 10;

/// Requests that move little data and copy nothing up.
bool is_short(std::span<const std::byte> request) {
  const auto& header = *reinterpret_cast<const fuse_in_header*>(request.data());
  switch (header.opcode) {
    case FUSE_LOOKUP:
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_GETATTR:
    case FUSE_READLINK:
    case FUSE_MKNOD:
    case FUSE_MKDIR:
    case FUSE_SYMLINK:
    case FUSE_UNLINK:
    case FUSE_RMDIR:
    case FUSE_CREATE:
    case FUSE_OPENDIR:
    case FUSE_READDIR:
    case FUSE_READDIRPLUS:
    case FUSE_RELEASEDIR:
    case FUSE_RELEASE:
    case FUSE_FLUSH:
    case FUSE_STATFS:
    case FUSE_GETXATTR:
    case FUSE_LISTXATTR:
    case FUSE_ACCESS:
      return true;
    case FUSE_OPEN: {
      const auto& open = *reinterpret_cast<const fuse_open_in*>(&header + 1);
      return (open.flags & (O_ACCMODE | O_TRUNC)) == O_RDONLY;
    }
    case FUSE_READ:
      return reinterpret_cast<const fuse_read_in*>(&header + 1)->size <= kShortBytesMax;
    case FUSE_WRITE:
      return reinterpret_cast<const fuse_write_in*>(&header + 1)->size <= kShortBytesMax;
    default:
      return false;
  }
}

/// Requests nobody waits for: what follows them at once may well come from the same client.
bool is_waited_for(std::span<const std::byte> request) {
  switch (reinterpret_cast<const fuse_in_header*>(request.data())->opcode) {
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_INTERRUPT:
      return false;
    default:
      return true;
  }
}

/// A request, or nothing and errno.
std::span<std::byte> read_into(const RequestBuffer& buffer, int channel) {
  const ssize_t bytes = ::read(channel, buffer.begin, RequestBuffer::kBytes);
  return {buffer.begin, bytes < 0 ? 0 : static_cast<std::size_t>(bytes)};
}

/// Who sent it: a thread's number.
std::uint32_t client_of(std::span<std::byte> request) {
  return reinterpret_cast<const fuse_in_header*>(request.data())->pid;
}

bool has_another(int channel) {
  pollfd asked{channel, POLLIN, 0};
  return ::poll(&asked, 1, 0) == 1;
}

}  // namespace

void Session::State::process(std::span<std::byte> request, int channel) {
  channel_of_thread = channel;
  request_of_thread = reinterpret_cast<const fuse_in_header*>(request.data());
  fuse_buf raw{};
  raw.size = request.size();
  raw.mem = request.data();
  fuse_session_process_buf(library, &raw);
  request_of_thread = nullptr;
  channel_of_thread = -1;
}

void Session::State::serve_channel(const Channel& channel, Turns& turns, std::atomic<std::uint64_t>* progress) {
  const RequestBuffer buffer;
  turns.take();
  bool waited_for = true;  // the last request
  std::uint32_t client = 0;
  while (fuse_session_exited(library) == 0) {
    int from = channel.at_once.get();
    auto request = read_into(buffer, from);
    // The last one's client may send the next before its server looks: that alone is no queue.
    const bool queued = !request.empty() && waited_for && (client_of(request) != client || has_another(from));
    if (request.empty() && errno == EAGAIN) {
      patience.begin();
      while (request.empty() && errno == EAGAIN && patience.look_again()) {
        request = read_into(buffer, from);
      }
      if (request.empty() && errno == EAGAIN) {
        from = channel.waiting.get();
        request = read_into(buffer, from);
      }
      patience.end();
    }
    if (request.empty()) {
      if (errno == EINTR || errno == EAGAIN || errno == ENOENT) {  // ENOENT: the request was interrupted
        continue;
      }
      break;  // ENODEV: unmounted or aborted
    }
    waited_for = is_waited_for(request);
    client = client_of(request);
    if (!queued && is_short(request)) {
      const auto ticket = turns.begin_short();
      process(request, from);
      if (!turns.end_short(ticket)) {
        turns.take();
      }
    } else {
      turns.pass();
      process(request, from);
      turns.take();
    }
    if (progress != nullptr) {
      progress->fetch_add(1, std::memory_order_relaxed);
    }
  }
  turns.pass();
}

void Session::State::look_along(const Fd& at_once, std::atomic<std::uint64_t>* progress) {
  const RequestBuffer buffer;
  while (patience.wait_for_looks()) {
    while (patience.looks()) {
      const auto request = read_into(buffer, at_once.get());
      if (!request.empty()) {
        patience.saw_one();
        process(request, at_once.get());
        if (progress != nullptr) {
          progress->fetch_add(1, std::memory_order_relaxed);
        }
      } else if (errno == ENODEV) {
        return;
      } else {
        ::sched_yield();
      }
    }
  }
}

void Session::State::invalidate_attributes(KernelNode node) const {
  struct {
    fuse_out_header header;
    fuse_notify_inval_inode_out body;
  } message{};
  message.header.len = sizeof(message);
  message.header.error = FUSE_NOTIFY_INVAL_INODE;
  message.body.ino = node;
  message.body.off = -1;                                                // attributes alone
  static_cast<void>(::write(device.get(), &message, sizeof(message)));  // ENOENT: the kernel does not hold it
}

void Session::State::prune(const std::vector<KnownNodes::Victim>& victims) const {
  if (kernel_minor < wire::kPruneMinorMin || options.named_prune) {
    for (const auto& victim : victims) {
      if (!victim.name.empty() && open_files->any_open(node_of(victim.node)) == nullptr) {
        fuse_lowlevel_notify_inval_entry(library, victim.parent, victim.name.c_str(), victim.name.size());
      }
    }
    return;
  }
  constexpr std::size_t kBatch = 1024;
  for (std::size_t at = 0; at < victims.size(); at += kBatch) {
    std::vector<KernelNode> nodes;
    for (std::size_t i = at; i < std::min(at + kBatch, victims.size()); ++i) {
      nodes.push_back(victims[i].node);
    }
    fuse_out_header header{};
    wire::PruneOut body{static_cast<std::uint32_t>(nodes.size()), 0, 0};
    std::array<iovec, 3> pieces = {iovec{&header, sizeof(header)}, iovec{&body, sizeof(body)},
                                   iovec{nodes.data(), nodes.size() * sizeof(KernelNode)}};
    header.len = static_cast<std::uint32_t>(pieces[0].iov_len + pieces[1].iov_len + pieces[2].iov_len);
    header.error = wire::kNotifyPrune;
    static_cast<void>(::writev(device.get(), pieces.data(), pieces.size()));  // ENOENT: forgotten meanwhile
  }
}

Session::Session(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<Session>> Session::mount(FileSystem& files, const std::filesystem::path& target,
                                                const SessionOptions& options) {
  auto state = std::make_unique<State>(files, options);
  SBENCH_TRY_SET(state->device, open_file("/dev/fuse", O_RDWR));
  std::string program = "sbench";
  char* argv[] = {program.data(), nullptr};
  fuse_args args = FUSE_ARGS_INIT(1, argv);
  state->library = fuse_session_new(&args, &operations(), sizeof(operations()), state.get());
  if (state->library == nullptr) {
    return plain_error(EINVAL, "libfuse cannot make a session");
  }
  std::unique_ptr<Session> session(new Session(std::move(state)));
  State& made = *session->state_;
  fuse_custom_io io{};
  io.writev = write_reply;
  io.read = read_request;
  const int own = ::fcntl(made.device.get(), F_DUPFD_CLOEXEC, 0);  // libfuse closes its own
  if (const int code = fuse_session_custom_io(made.library, &io, own); code != 0) {
    return make_error(-code, "libfuse cannot use /dev/fuse");
  }
  SBENCH_TRY(mount_device(made.device.get(), target, options));
  const Status answered = made.answer_first_request();
  if (!answered.ok()) {
    ::umount2(target.c_str(), MNT_DETACH);
    return answered.error();
  }
  made.open_files = std::make_unique<OpenFiles>(made.device.get(), made.passthrough);
  const bool by_name = made.kernel_minor < wire::kPruneMinorMin || options.named_prune;
  made.known =
      std::make_unique<KnownNodes>(options.nodes_max, by_name, [&made](const auto& victims) { made.prune(victims); });
  return session;
}

void Session::serve(std::atomic<std::uint64_t>* progress) {
  Turns turns;
  std::vector<std::thread> threads;
  for (int i = thread_count(state_->options); i > 0; --i) {
    auto waiting = state_->clone_device(0);
    auto at_once = state_->clone_device(O_NONBLOCK);
    if (!waiting.ok() || !at_once.ok()) {
      break;
    }
    auto channel = std::make_shared<Channel>(Channel{std::move(waiting).value(), std::move(at_once).value()});
    threads.emplace_back([this, &turns, progress, channel] { state_->serve_channel(*channel, turns, progress); });
  }
  std::thread companion;
  if (auto at_once = state_->clone_device(O_NONBLOCK); at_once.ok() && std::thread::hardware_concurrency() > 1) {
    auto channel = std::make_shared<Fd>(std::move(at_once).value());
    companion = std::thread([this, progress, channel] { state_->look_along(*channel, progress); });
  }
  if (threads.empty()) {  // short of descriptors: the first one serves alone
    const Channel own{Fd(::dup(state_->device.get())), Fd(::dup(state_->device.get()))};
    state_->serve_channel(own, turns, progress);
  }
  for (auto& thread : threads) {
    thread.join();
  }
  state_->patience.stop();
  if (companion.joinable()) {
    companion.join();
  }
}

Session::~Session() {
  state_->known.reset();  // its thread notifies through the device
  if (state_->library != nullptr) {
    fuse_session_destroy(state_->library);
  }
}

}  // namespace sbench::fuse
