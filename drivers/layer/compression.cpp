#include "drivers/layer/compression.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "drivers/base/units.h"
#include "drivers/layer/archive_support.h"
#include "drivers/layer/stream_buffer.h"

namespace sbench {
namespace {

int filter_code(Compression compression) {
  switch (compression) {
    case Compression::none:
      return ARCHIVE_FILTER_NONE;
    case Compression::gzip:
      return ARCHIVE_FILTER_GZIP;
    case Compression::zstd:
      return ARCHIVE_FILTER_ZSTD;
  }
  return ARCHIVE_FILTER_NONE;
}

}  // namespace

const char* to_string(Compression compression) {
  switch (compression) {
    case Compression::none:
      return "none";
    case Compression::gzip:
      return "gzip";
    case Compression::zstd:
      return "zstd";
  }
  return "?";
}

struct UnpackingSource::State {
  State(ByteSource& from, Compression packed, std::string name)
      : source(from), compression(packed), shown(std::move(name)) {}

  ByteSource& source;
  Compression compression;
  std::string shown;
  std::unique_ptr<std::byte[]> buffer{new std::byte[kStreamBufferBytes]};
  std::optional<Error> source_error;
  std::span<const std::byte> rest;  ///< of the block libarchive handed out last
  bool opened = false;
  bool ended = false;
  ArchiveReader reader;  ///< last: freeing it may use the members above

  static la_ssize_t read_raw(archive* handle, void* self, const void** data) {
    auto& state = *static_cast<State*>(self);
    const auto count = state.source.read({state.buffer.get(), kStreamBufferBytes});
    if (!count.ok()) {
      state.source_error = count.error();
      ::archive_set_error(handle, count.error().code, "%s", count.error().what.c_str());
      return -1;
    }
    *data = state.buffer.get();
    return static_cast<la_ssize_t>(*count);
  }

  [[nodiscard]] Error failure() const {
    if (source_error.has_value()) {
      return *source_error;
    }
    const char* reason = ::archive_error_string(reader.get());
    return plain_error(EINVAL, "{}: {}", shown, reason != nullptr ? reason : "the compressed stream is damaged");
  }

  Status open() {
    opened = true;
    reader.reset(::archive_read_new());
    archive* handle = reader.get();
    need_memory(handle != nullptr);
    need_memory(::archive_read_support_format_raw(handle) == ARCHIVE_OK);
    need_memory(::archive_read_support_format_empty(handle) == ARCHIVE_OK);
    need_memory(compression == Compression::gzip ? ::archive_read_support_filter_gzip(handle) >= ARCHIVE_WARN
                                                  : ::archive_read_support_filter_zstd(handle) >= ARCHIVE_WARN);
    archive_entry* entry = nullptr;
    if (::archive_read_open(handle, this, nullptr, &State::read_raw, nullptr) != ARCHIVE_OK) {
      return failure();
    }
    if (::archive_filter_code(handle, 0) != filter_code(compression) || ::archive_filter_count(handle) != 2) {
      return plain_error(EINVAL, "{}: this is no {} stream", shown, to_string(compression));
    }
    const int code = ::archive_read_next_header(handle, &entry);
    if (code == ARCHIVE_EOF) {
      ended = true;
      return {};
    }
    return code == ARCHIVE_OK ? Status() : Status(failure());
  }
};

UnpackingSource::UnpackingSource(ByteSource& source, Compression compression, std::string shown)
    : state_(std::make_unique<State>(source, compression, std::move(shown))) {}
UnpackingSource::~UnpackingSource() = default;

Result<std::size_t> UnpackingSource::read(std::span<std::byte> buffer) {
  if (state_->compression == Compression::none) {
    return state_->source.read(buffer);
  }
  if (!state_->opened) {
    SBENCH_TRY(state_->open());
  }
  while (state_->rest.empty() && !state_->ended) {
    const void* data = nullptr;
    std::size_t size = 0;
    la_int64_t offset = 0;
    const int code = ::archive_read_data_block(state_->reader.get(), &data, &size, &offset);
    if (code == ARCHIVE_EOF) {
      state_->ended = true;
    } else if (code != ARCHIVE_OK) {
      return state_->failure();
    } else {
      state_->rest = {static_cast<const std::byte*>(data), size};
    }
  }
  const std::size_t count = std::min(buffer.size(), state_->rest.size());
  if (count > 0) {
    std::memcpy(buffer.data(), state_->rest.data(), count);
  }
  state_->rest = state_->rest.subspan(count);
  return count;
}

struct PackingSink::State {
  State(ByteSink& to, Compression wanted) : sink(to), compression(wanted) {}

  ByteSink& sink;
  Compression compression;
  std::optional<Error> sink_error;
  bool live = false;  ///< false once given up: what libarchive still wants to write is dropped
  ArchiveEntry entry;
  ArchiveWriter writer;  ///< last: freeing it may use the members above

  static la_ssize_t write_raw(archive* handle, void* self, const void* data, std::size_t size) {
    auto& state = *static_cast<State*>(self);
    const Status status =
        state.live ? state.sink.write({static_cast<const std::byte*>(data), size}) : Status();
    if (status.ok()) {
      return static_cast<la_ssize_t>(size);
    }
    if (!state.sink_error.has_value()) {
      state.sink_error = status.error();
    }
    ::archive_set_error(handle, status.error().code, "%s", status.error().what.c_str());
    return -1;
  }

  [[nodiscard]] Error failure() const {
    if (sink_error.has_value()) {
      return *sink_error;
    }
    const char* reason = ::archive_error_string(writer.get());
    return plain_error(EIO, "cannot compress: {}", reason != nullptr ? reason : "unknown reason");
  }
};

PackingSink::PackingSink(ByteSink& sink, Compression compression)
    : state_(std::make_unique<State>(sink, compression)) {
  if (compression == Compression::none) {
    return;
  }
  state_->live = true;
  state_->writer.reset(::archive_write_new());
  archive* handle = state_->writer.get();
  need_memory(handle != nullptr);
  need_memory(::archive_write_set_format_raw(handle) == ARCHIVE_OK);
  need_memory(::archive_write_add_filter(handle, filter_code(compression)) >= ARCHIVE_WARN);
  if (compression == Compression::gzip) {
    need_memory(::archive_write_set_filter_option(handle, "gzip", "timestamp", nullptr) == ARCHIVE_OK);
  }
  ::archive_write_set_bytes_in_last_block(handle, 1);
  state_->entry.reset(::archive_entry_new());
  need_memory(state_->entry != nullptr);
  ::archive_entry_set_filetype(state_->entry.get(), AE_IFREG);
  ::archive_entry_set_pathname(state_->entry.get(), "data");
  if (::archive_write_open(handle, state_.get(), nullptr, &State::write_raw, nullptr) != ARCHIVE_OK ||
      ::archive_write_header(handle, state_->entry.get()) != ARCHIVE_OK) {
    state_->sink_error = state_->failure();
  }
}

PackingSink::~PackingSink() { state_->live = false; }

Status PackingSink::write(std::span<const std::byte> data) {
  if (state_->compression == Compression::none) {
    return state_->sink.write(data);
  }
  if (state_->sink_error.has_value()) {
    return *state_->sink_error;
  }
  const la_ssize_t written = ::archive_write_data(state_->writer.get(), data.data(), data.size());
  return written == static_cast<la_ssize_t>(data.size()) ? Status() : Status(state_->failure());
}

Status PackingSink::finish() {
  if (state_->compression == Compression::none) {
    return {};
  }
  return ::archive_write_close(state_->writer.get()) == ARCHIVE_OK ? Status() : Status(state_->failure());
}

Result<std::uint64_t> copy_stream(ByteSource& source, ByteSink& sink, std::uint64_t bytes_max,
                                  const std::string& shown) {
  std::vector<std::byte> buffer(kStreamBufferBytes);
  std::uint64_t total = 0;
  for (;;) {
    SBENCH_TRY_SET(const std::size_t count, source.read(buffer));
    if (count == 0) {
      return total;
    }
    total += count;
    if (total > bytes_max) {
      return plain_error(EFBIG, "{} is larger than the limit of {}", shown,
                         human_size(static_cast<double>(bytes_max)));
    }
    SBENCH_TRY(sink.write(std::span(buffer).first(count)));
  }
}

}  // namespace sbench
