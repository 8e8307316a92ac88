// session_state.h: what a session's threads share; operations.cpp works on it. Not for other folders.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse3/fuse_lowlevel.h>

#include <span>

#include "drivers/base/fd.h"
#include "drivers/fuse/known_nodes.h"
#include "drivers/fuse/open_files.h"
#include "drivers/fuse/patience.h"
#include "drivers/fuse/session.h"
#include "drivers/fuse/turns.h"
#include "drivers/fuse/wire.h"

namespace sbench::fuse {

/// One thread's own two descriptors of the session.
struct Channel {
  Fd waiting;  ///< reading it waits for a request
  Fd at_once;  ///< reading it gives a request that is there already, or EAGAIN
};

class Session::State {
 public:
  State(FileSystem& shown, SessionOptions wanted) : files(shown), options(std::move(wanted)) {}

  FileSystem& files;
  const SessionOptions options;
  Fd device;
  fuse_session* library = nullptr;
  bool passthrough = false;             ///< agreed with the kernel
  std::uint32_t kernel_minor = 0;
  std::unique_ptr<OpenFiles> open_files;
  std::unique_ptr<KnownNodes> known;
  Patience patience;

  [[nodiscard]] Status answer_first_request();
  void serve_channel(const Channel& channel, Turns& turns, std::atomic<std::uint64_t>* progress);
  /// Serves requests next to the reader as long as that one looks for them.
  void look_along(const Fd& at_once, std::atomic<std::uint64_t>* progress);
  /// Works on a request and answers through the descriptor it came from (-1: `device`).
  void process(std::span<std::byte> request, int channel);
  /// A descriptor of the session for one thread: the kernel keeps the requests of each apart.
  [[nodiscard]] Result<Fd> clone_device(int flags) const;
  /// The kernel asks again for the attributes of `node`.
  void invalidate_attributes(KernelNode node) const;
  void prune(const std::vector<KnownNodes::Victim>& victims) const;
};

/// The table of callbacks; their userdata is a Session::State.
[[nodiscard]] const fuse_lowlevel_ops& operations();

/// The request this thread is working on, as the kernel sent it: for fields libfuse does not hand on.
[[nodiscard]] const fuse_in_header* current_request();
template <typename Body>
[[nodiscard]] const Body& current_body() {
  return *reinterpret_cast<const Body*>(current_request() + 1);
}
/// This thread's own buffer for an answer, kTransferBytesMax long, aligned to a page.
[[nodiscard]] std::span<std::byte> reply_buffer();

}  // namespace sbench::fuse
