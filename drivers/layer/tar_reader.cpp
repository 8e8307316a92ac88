#include "drivers/layer/tar_reader.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <string_view>

#include "drivers/layer/archive_support.h"
#include "drivers/layer/stream_buffer.h"
#include "drivers/layer/tar_guard.h"

namespace sbench {
namespace {

constexpr la_int64_t kIdMax = 0xFFFFFFFE;  ///< -1 means "leave it" to chown

}  // namespace

struct TarReader::State {
  explicit State(ByteSource& from) : source(from) {}

  ByteSource& source;
  TarGuard guard;
  std::unique_ptr<std::byte[]> buffer{new std::byte[kStreamBufferBytes]};
  std::optional<Error> source_error;  ///< the source's or the guard's
  ReadEntry entry;
  ArchiveReader reader;  ///< last: freeing it may use the members above

  static la_ssize_t read(archive* handle, void* self, const void** data) {
    auto& state = *static_cast<State*>(self);
    auto count = state.source.read({state.buffer.get(), kStreamBufferBytes});
    if (count.ok()) {
      if (auto status = state.guard.check({state.buffer.get(), *count}); !status.ok()) {
        count = status.error();
      }
    }
    if (!count.ok()) {
      state.source_error = count.error();
      ::archive_set_error(handle, count.error().code, "%s", count.error().what.c_str());
      return -1;
    }
    *data = state.buffer.get();
    return static_cast<la_ssize_t>(*count);
  }

  [[nodiscard]] Error failure(const char* place) const {
    if (source_error.has_value()) {
      return *source_error;
    }
    const char* reason = ::archive_error_string(reader.get());
    return plain_error(EINVAL, "layer tar: {} {}: {}", place, entry.name.empty() ? "the beginning" : shown(entry.name),
                       reason != nullptr ? reason : "it is damaged");
  }

  Status take(archive_entry* from);
  void take_xattrs(archive_entry* from);
};

TarReader::TarReader(ByteSource& source) : state_(std::make_unique<State>(source)) {
  state_->reader.reset(::archive_read_new());
  archive* handle = state_->reader.get();
  need_memory(handle != nullptr);
  need_memory(::archive_read_support_format_tar(handle) == ARCHIVE_OK);
  const auto characters = CharacterSet::ascii();
  // Opening reads the first block; what is wrong with that is reported by the first next().
  if (::archive_read_open(handle, state_.get(), nullptr, &State::read, nullptr) != ARCHIVE_OK &&
      !state_->source_error.has_value()) {
    state_->source_error = state_->failure("at");
  }
}

TarReader::~TarReader() = default;

Result<const ReadEntry*> TarReader::next() {
  if (state_->source_error.has_value()) {
    return *state_->source_error;
  }
  archive_entry* raw = nullptr;
  const auto characters = CharacterSet::ascii();
  const int code = ::archive_read_next_header(state_->reader.get(), &raw);
  if (code == ARCHIVE_EOF) {
    return static_cast<const ReadEntry*>(nullptr);
  }
  if (code == ARCHIVE_WARN) {
    // A name beyond ASCII is taken as its bytes; every other doubt about a header is one too many.
    const char* reason = ::archive_error_string(state_->reader.get());
    if (reason == nullptr || std::string_view(reason).find("can't be converted") == std::string_view::npos) {
      return state_->failure("at or after");
    }
  } else if (code != ARCHIVE_OK) {
    return state_->failure("at or after");
  }
  SBENCH_TRY(state_->take(raw));
  return static_cast<const ReadEntry*>(&state_->entry);
}

Status TarReader::State::take(archive_entry* from) {
  const char* name = ::archive_entry_pathname(from);
  if (name == nullptr || *name == '\0') {
    return plain_error(EINVAL, "layer tar: the entry after {} has no name",
                       entry.name.empty() ? "the beginning" : shown(entry.name));
  }
  entry = ReadEntry{};
  entry.name = name;
  const la_int64_t uid = ::archive_entry_uid(from);
  const la_int64_t gid = ::archive_entry_gid(from);
  if (uid < 0 || gid < 0 || uid > kIdMax || gid > kIdMax) {
    return plain_error(EINVAL, "layer tar: {} has an owner out of range ({}:{})", shown(entry.name), uid, gid);
  }
  entry.uid = static_cast<uid_t>(uid);
  entry.gid = static_cast<gid_t>(gid);
  entry.mtime = {::archive_entry_mtime(from), ::archive_entry_mtime_nsec(from)};
  if (const char* target = ::archive_entry_hardlink(from); target != nullptr) {
    entry.hard_link_target = target;
    return {};
  }
  entry.mode = ::archive_entry_filetype(from) | (::archive_entry_perm(from) & 07777);
  if (S_ISREG(entry.mode)) {
    const la_int64_t size = ::archive_entry_size(from);
    if (size < 0) {
      return plain_error(EINVAL, "layer tar: {} has a negative size", shown(entry.name));
    }
    entry.size_bytes = static_cast<std::uint64_t>(size);
  } else if (S_ISLNK(entry.mode)) {
    const char* target = ::archive_entry_symlink(from);
    if (target == nullptr || *target == '\0') {
      return plain_error(EINVAL, "layer tar: the symbolic link {} has no target", shown(entry.name));
    }
    entry.link_target = target;
    if (entry.link_target.size() >= PATH_MAX) {
      return make_error(ENAMETOOLONG, "layer tar: the target of the symbolic link {}", shown(entry.name));
    }
  } else if (S_ISCHR(entry.mode) || S_ISBLK(entry.mode)) {
    entry.device_number = ::makedev(::archive_entry_rdevmajor(from), ::archive_entry_rdevminor(from));
  } else if (!S_ISDIR(entry.mode) && !S_ISFIFO(entry.mode)) {
    return plain_error(EINVAL, "layer tar: {} is of an unknown type", shown(entry.name));
  }
  take_xattrs(from);
  return {};
}

void TarReader::State::take_xattrs(archive_entry* from) {
  ::archive_entry_xattr_reset(from);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (::archive_entry_xattr_next(from, &name, &value, &size) == ARCHIVE_OK) {
    if (name != nullptr && !is_unlayered_xattr(name)) {
      entry.xattrs.insert_or_assign(name, std::string(static_cast<const char*>(value), size));
    }
  }
}

Result<std::optional<DataRun>> TarReader::next_data() {
  const void* data = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  for (;;) {
    const int code = ::archive_read_data_block(state_->reader.get(), &data, &size, &offset);
    if (code == ARCHIVE_EOF) {
      return std::optional<DataRun>();
    }
    if (code != ARCHIVE_OK || offset < 0) {
      return state_->failure("in");
    }
    if (size > 0) {
      return std::optional(DataRun{{static_cast<const std::byte*>(data), size}, static_cast<std::uint64_t>(offset)});
    }
  }
}

}  // namespace sbench
