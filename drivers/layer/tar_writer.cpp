#include "drivers/layer/tar_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <optional>

#include "drivers/base/fd.h"
#include "drivers/base/file.h"
#include "drivers/layer/archive_support.h"
#include "drivers/layer/tree_walk.h"
#include "drivers/layer/whiteout.h"
#include "drivers/layer/xattr.h"

namespace sbench {
namespace {

constexpr std::size_t kBufferBytes = 256 << 10;
constexpr std::int64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

struct TarWriter::State {
  explicit State(ByteSink& target) : sink(target) {}

  ByteSink& sink;
  bool abandoned = false;           ///< what libarchive still wants to write is refused
  std::optional<Error> sink_error;  ///< the first one; libarchive only knows that something failed
  ArchiveEntry entry;
  std::unique_ptr<std::byte[]> buffer{new std::byte[kBufferBytes]};
  std::string path;  ///< of the entry whose content is being written
  std::uint64_t bytes_left = 0;
  ArchiveWriter writer;  ///< last: closing it uses the members above

  static la_ssize_t write(archive* handle, void* self, const void* data, std::size_t size) {
    auto& state = *static_cast<State*>(self);
    if (state.abandoned) {
      return -1;
    }
    const auto status = state.sink.write({static_cast<const std::byte*>(data), size});
    if (status.ok()) {
      return static_cast<la_ssize_t>(size);
    }
    if (!state.sink_error.has_value()) {
      state.sink_error = status.error();
    }
    ::archive_set_error(handle, status.error().code, "%s", status.error().what.c_str());
    return -1;
  }

  [[nodiscard]] Error failure(const std::string& shown) const {
    if (sink_error.has_value()) {
      return *sink_error;
    }
    const char* reason = ::archive_error_string(writer.get());
    return plain_error(EINVAL, "cannot write {} to the layer tar: {}", shown,
                       reason != nullptr ? reason : "unknown reason");
  }

  Status fill(const TarEntry& from);
  Status add_content(const Fd& file, std::uint64_t size_bytes);
};

/// Turns `from` into libarchive's form. No access or change times: they would make equal trees give different tars.
Status TarWriter::State::fill(const TarEntry& from) {
  archive_entry* to = entry.get();
  ::archive_entry_clear(to);
  const bool directory = S_ISDIR(from.mode) && from.hard_link_target.empty();
  const std::string name = directory ? from.path + "/" : from.path;
  ::archive_entry_copy_pathname(to, name.c_str());
  ::archive_entry_set_mode(to, from.mode);
  ::archive_entry_set_uid(to, from.uid);
  ::archive_entry_set_gid(to, from.gid);
  std::int64_t seconds = from.mtime_ns / kNanosecondsPerSecond;
  std::int64_t rest_ns = from.mtime_ns % kNanosecondsPerSecond;
  if (rest_ns < 0) {
    seconds -= 1;
    rest_ns += kNanosecondsPerSecond;
  }
  ::archive_entry_set_mtime(to, static_cast<time_t>(seconds), static_cast<long>(rest_ns));
  ::archive_entry_set_size(to, 0);
  if (!from.hard_link_target.empty()) {
    ::archive_entry_copy_hardlink(to, from.hard_link_target.c_str());
    return {};
  }
  if (S_ISREG(from.mode)) {
    ::archive_entry_set_size(to, static_cast<la_int64_t>(from.size_bytes));
  } else if (S_ISLNK(from.mode)) {
    ::archive_entry_copy_symlink(to, from.link_target.c_str());
  } else if (S_ISCHR(from.mode) || S_ISBLK(from.mode)) {
    ::archive_entry_set_rdevmajor(to, ::major(from.device_number));
    ::archive_entry_set_rdevminor(to, ::minor(from.device_number));
  }
  for (const auto& [attribute, value] : from.xattrs) {
    if (is_unlayered_xattr(attribute)) {
      continue;
    }
    if (attribute.find('=') != std::string::npos) {
      return plain_error(ENOTSUP, "cannot write {} to a layer tar: the name of its attribute {} holds a '='", from.path,
                         attribute);
    }
    ::archive_entry_xattr_add_entry(to, attribute.c_str(), value.data(), value.size());
  }
  return {};
}

TarWriter::TarWriter(ByteSink& sink) : state_(std::make_unique<State>(sink)) {
  state_->entry.reset(::archive_entry_new());
  state_->writer.reset(::archive_write_new());
  archive* handle = state_->writer.get();
  need_memory(handle != nullptr && state_->entry != nullptr);
  // Full pax, as the restricted form drops nanoseconds from entries that need no other extension.
  need_memory(::archive_write_set_format_pax(handle) == ARCHIVE_OK);
  need_memory(::archive_write_set_format_option(handle, "pax", "xattrheader", "SCHILY") == ARCHIVE_OK);
  need_memory(::archive_write_set_bytes_per_block(handle, kBufferBytes) == ARCHIVE_OK);
  need_memory(::archive_write_set_bytes_in_last_block(handle, 512) == ARCHIVE_OK);
  need_memory(::archive_write_open(handle, state_.get(), nullptr, &State::write, nullptr) == ARCHIVE_OK);
}

TarWriter::~TarWriter() {
  // An unfinished tar stays without its end. Closing gives back memory that freeing a failed writer would not.
  if (state_->writer != nullptr) {
    state_->abandoned = true;
    static_cast<void>(::archive_write_close(state_->writer.get()));
  }
}

Status TarWriter::add(const TarEntry& entry) {
  SBENCH_CHECK(state_->bytes_left == 0);
  SBENCH_CHECK(state_->writer != nullptr);
  SBENCH_TRY(state_->fill(entry));
  const auto characters = CharacterSet::utf8();
  const int code = ::archive_write_header(state_->writer.get(), state_->entry.get());
  // A warning says that a name is not UTF-8 and was written as its bytes, which is what is wanted.
  if (code != ARCHIVE_OK && code != ARCHIVE_WARN) {
    return state_->failure(entry.path);
  }
  state_->path = entry.path;
  state_->bytes_left = S_ISREG(entry.mode) && entry.hard_link_target.empty() ? entry.size_bytes : 0;
  return {};
}

Status TarWriter::write_data(std::span<const std::byte> data) {
  SBENCH_CHECK(data.size() <= state_->bytes_left);
  while (!data.empty()) {
    const la_ssize_t count = ::archive_write_data(state_->writer.get(), data.data(), data.size());
    if (count <= 0) {
      return state_->failure(state_->path);
    }
    data = data.subspan(static_cast<std::size_t>(count));
    state_->bytes_left -= static_cast<std::uint64_t>(count);
  }
  return {};
}

/// Exactly `size_bytes` from the file: a file that became shorter meanwhile is an error, one that grew is cut.
Status TarWriter::State::add_content(const Fd& file, std::uint64_t size_bytes) {
  while (bytes_left > 0) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(kBufferBytes, bytes_left));
    const ssize_t count = ::read(file.get(), buffer.get(), wanted);
    if (count < 0 && errno == EINTR) {
      continue;
    }
    if (count < 0) {
      return errno_error("cannot read {}", path);
    }
    if (count == 0) {
      return plain_error(EIO, "{} became shorter than its {} bytes while it was read", path, size_bytes);
    }
    if (::archive_write_data(writer.get(), buffer.get(), static_cast<std::size_t>(count)) != count) {
      return failure(path);
    }
    bytes_left -= static_cast<std::uint64_t>(count);
  }
  return {};
}

Status TarWriter::add_file(const std::filesystem::path& file_path, const std::string& entry_path,
                           HardLinks& hard_links) {
  const auto parent = file_path.has_parent_path() ? file_path.parent_path() : std::filesystem::path(".");
  const std::string name = file_path.has_filename() ? file_path.filename().string() : ".";
  SBENCH_TRY_SET(const Fd directory, open_file(parent, O_RDONLY | O_DIRECTORY));
  return add_file_at(directory.get(), name, entry_path, hard_links);
}

Status TarWriter::add_file_at(int directory_fd, const std::string& name, const std::string& entry_path,
                              HardLinks& hard_links) {
  struct stat status {};
  if (::fstatat(directory_fd, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return errno_error("cannot inspect {}", entry_path);
  }
  if (S_ISSOCK(status.st_mode)) {
    return {};
  }
  TarEntry entry;
  entry.path = entry_path;
  entry.mode = status.st_mode;
  entry.uid = status.st_uid;
  entry.gid = status.st_gid;
  entry.mtime_ns = nanoseconds(status.st_mtim);
  if (!S_ISDIR(status.st_mode) && status.st_nlink > 1) {
    const auto [first, inserted] = hard_links.emplace(std::pair(status.st_dev, status.st_ino), entry_path);
    if (!inserted) {
      entry.hard_link_target = first->second;
      return add(entry);
    }
  }
  entry.device_number = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? status.st_rdev : 0;
  SBENCH_TRY_SET(entry.xattrs, read_xattrs(directory_fd, name, entry_path));
  if (S_ISLNK(status.st_mode)) {
    entry.link_target.resize(4096);
    const ssize_t size = ::readlinkat(directory_fd, name.c_str(), entry.link_target.data(), entry.link_target.size());
    if (size < 0) {
      return errno_error("cannot read the link {}", entry_path);
    }
    entry.link_target.resize(static_cast<std::size_t>(size));
  }
  if (!S_ISREG(status.st_mode) || status.st_size == 0) {
    return add(entry);
  }
  entry.size_bytes = static_cast<std::uint64_t>(status.st_size);
  const Fd file(::openat(directory_fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (!file.valid()) {
    return errno_error("cannot open {}", entry_path);
  }
  SBENCH_TRY(add(entry));
  return state_->add_content(file, entry.size_bytes);
}

Status TarWriter::add_whiteout(const std::string& path, bool opaque) {
  const auto slash = path.rfind('/');
  TarEntry entry;
  if (opaque) {
    entry.path = join_path(path, kOpaqueName);
  } else {
    const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash);
    entry.path = join_path(parent, kWhiteoutPrefix + path.substr(slash == std::string::npos ? 0 : slash + 1));
  }
  entry.mode = S_IFREG | 0600;
  return add(entry);
}

Status TarWriter::finish() {
  SBENCH_CHECK(state_->bytes_left == 0);
  SBENCH_CHECK(state_->writer != nullptr);
  const auto characters = CharacterSet::utf8();
  if (::archive_write_close(state_->writer.get()) != ARCHIVE_OK) {
    return state_->failure("the end");
  }
  state_->writer.reset();
  return {};
}

}  // namespace sbench
