#include "drivers/layer/tar_guard.h"

#include <algorithm>
#include <charconv>

namespace sbench {
namespace {

constexpr std::size_t kBlockBytes = 512;
constexpr std::uint64_t kExtensionBytesMax = 2 << 20;  ///< libarchive refuses more than 1 MiB itself

/// A number field of a header: octal digits, or big-endian binary when its first bit is set.
std::uint64_t read_number(std::string_view field) {
  std::uint64_t value = 0;
  if (!field.empty() && (static_cast<unsigned char>(field[0]) & 0x80) != 0) {
    for (const char byte : field.substr(field.size() - 8)) {
      value = value << 8 | static_cast<unsigned char>(byte);
    }
    return value;
  }
  const auto first = std::min(field.find_first_not_of(' '), field.size());
  static_cast<void>(std::from_chars(field.data() + first, field.data() + field.size(), value, 8));
  return value;
}

std::uint64_t padded(std::uint64_t bytes) { return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes; }

}  // namespace

Status TarGuard::check(std::span<const std::byte> data) {
  std::string_view rest(reinterpret_cast<const char*>(data.data()), data.size());
  while (!rest.empty() && !done_) {
    if (skip_ > 0) {
      const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(skip_, rest.size()));
      skip_ -= count;
      rest.remove_prefix(count);
      continue;
    }
    const std::size_t count = std::min(wanted_ - block_.size(), rest.size());
    block_.append(rest.substr(0, count));
    rest.remove_prefix(count);
    if (block_.size() == wanted_) {
      SBENCH_TRY(extension_ == 0 ? end_block() : end_extension());
    }
  }
  return {};
}

Status TarGuard::end_block() {
  const std::string header = std::move(block_);
  block_.clear();
  if (header.find_first_not_of('\0') == std::string::npos) {
    done_ = true;
    return {};
  }
  const char type = header[156];
  std::uint64_t size = read_number(std::string_view(header).substr(124, 12));
  if (type == 'x' || type == 'g' || type == 'X' || type == 'L' || type == 'K') {
    if (size > kExtensionBytesMax) {
      done_ = true;
      return {};
    }
    extension_ = size > 0 ? type : '\0';
    extension_bytes_ = static_cast<std::size_t>(size);
    wanted_ = size > 0 ? static_cast<std::size_t>(padded(size)) : kBlockBytes;
    return {};
  }
  size = size_.value_or(size);
  size_.reset();
  const bool regular = type == '0' || type == '\0' || type == '7' || (type == 'S' && header[482] == '\0');
  // Whether other types have content, and where sparse maps go on, is a matter of dialects.
  done_ = (!regular && size > 0) || size > INT64_MAX;
  skip_ = done_ ? 0 : padded(size);
  return {};
}

Status TarGuard::end_extension() {
  const std::string block = std::move(block_);
  block_.clear();
  const char type = extension_;
  extension_ = 0;
  wanted_ = kBlockBytes;
  const std::string_view body = std::string_view(block).substr(0, extension_bytes_);
  if (type != 'L' && type != 'K') {
    const auto before = size_;
    SBENCH_TRY(check_records(body));
    size_ = type == 'g' ? before : size_;
    return {};
  }
  const std::string_view name = body.substr(0, body.find_last_not_of('\0') + 1);
  if (name.find('\0') != std::string_view::npos) {
    return plain_error(EINVAL, "layer tar: the name {} holds a NUL", shown(name));
  }
  return {};
}

/// pax records: "LENGTH KEY=VALUE\n", LENGTH counting all of the record.
Status TarGuard::check_records(std::string_view records) {
  while (!records.empty()) {
    std::size_t length = 0;
    const auto [end, error] = std::from_chars(records.data(), records.data() + records.size(), length);
    const auto digits = static_cast<std::size_t>(end - records.data());
    if (error != std::errc() || length <= digits + 1 || length > records.size() || records[digits] != ' ') {
      return plain_error(EINVAL, "layer tar: the pax record {} is damaged", records.substr(0, 40));
    }
    const std::string_view record = records.substr(digits + 1, length - digits - 2);
    records.remove_prefix(length);
    const auto equals = std::min(record.find('='), record.size());
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(std::min(equals + 1, record.size()));
    const bool name = key == "path" || key == "linkpath" || key == "GNU.sparse.name";
    if (name && value.find('\0') != std::string_view::npos) {
      return plain_error(EINVAL, "layer tar: the name {} holds a NUL", shown(value));
    }
    if (key == "size") {
      std::uint64_t size = 0;
      static_cast<void>(std::from_chars(value.data(), value.data() + value.size(), size));
      size_ = size;
    }
  }
  return {};
}

}  // namespace sbench
