#include "tests/layer/layer_test.h"

#include <fcntl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <fstream>
#include <iterator>

namespace sbench::testing {
namespace {

void expect_done(int result, const Folder& path) {
  if (result != 0) {
    ADD_FAILURE() << path << ": " << std::strerror(errno);
  }
}

}  // namespace

Folder make_folder(const TemporaryFolder& temporary, const std::string& name) {
  const Folder folder = temporary.path() / name;
  std::filesystem::create_directories(folder);
  return folder;
}

void write_file(const Folder& path, const std::string& content, unsigned mode) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
  expect_done(::chmod(path.c_str(), mode), path);
}

std::string read_file(const Folder& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void make_link(const std::string& target, const Folder& path) {
  expect_done(::symlink(target.c_str(), path.c_str()), path);
}

void make_hard_link(const Folder& existing, const Folder& path) {
  expect_done(::linkat(AT_FDCWD, existing.c_str(), AT_FDCWD, path.c_str(), 0), path);
}

void make_device(const Folder& path, unsigned type, unsigned major, unsigned minor) {
  expect_done(::mknod(path.c_str(), type | 0600, ::makedev(major, minor)), path);
}

void make_fifo(const Folder& path) { expect_done(::mkfifo(path.c_str(), 0600), path); }

void set_xattr(const Folder& path, const std::string& name, const std::string& value) {
  expect_done(::lsetxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0), path);
}

std::string xattr_of(const Folder& path, const std::string& name) {
  std::array<char, 4096> value{};
  const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
  return size < 0 ? "(none)" : std::string(value.data(), static_cast<std::size_t>(size));
}

void set_mtime_ns(const Folder& path, std::int64_t time_ns) {
  const std::int64_t rest_ns = (time_ns % 1'000'000'000 + 1'000'000'000) % 1'000'000'000;
  const timespec times[2] = {{0, UTIME_OMIT}, {(time_ns - rest_ns) / 1'000'000'000, rest_ns}};
  expect_done(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), path);
}

struct stat status_of(const Folder& path) {
  struct stat status {};
  expect_done(::lstat(path.c_str(), &status), path);
  return status;
}

bool stands(const Folder& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

bool is_whiteout(const Folder& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == 0;
}

void expect_equal_trees(const Tree& expected, const Tree& actual) {
  for (const auto& difference : compare_trees(expected, actual)) {
    ADD_FAILURE() << difference;
  }
}

void expect_equal_trees(const Folder& expected, const Folder& actual) {
  expect_equal_trees(must(read_tree(expected)), must(read_tree(actual)));
}

Result<std::uint64_t> unpack(const std::string& tar, const Folder& root, WhiteoutStyle style) {
  MemorySource source(tar);
  return apply_layer(source, root, style);
}

std::vector<std::string> letters(const std::vector<Change>& changes) {
  std::vector<std::string> lines;
  for (const auto& change : changes) {
    lines.push_back(std::string(letter(change.kind)) + " " + change.path);
  }
  return lines;
}

RawTar& RawTar::header(const Fields& fields) {
  std::string block(512, '\0');
  const auto put = [&](std::size_t offset, std::size_t size, const std::string& text) {
    block.replace(offset, std::min(size, text.size()), text.substr(0, size));
  };
  const auto octal = [&](std::size_t offset, std::size_t digits, std::uint64_t value) {
    put(offset, digits + 1, fmt::format("{:0{}o}", value, digits));
  };
  put(0, 100, fields.name);
  octal(100, 7, fields.mode);
  octal(108, 7, fields.uid);
  octal(116, 7, 0);
  octal(124, 11, fields.size_bytes);
  octal(136, 11, 1'600'000'000);
  put(148, 8, "        ");
  block[156] = fields.type;
  put(157, 100, fields.link_target);
  put(257, 8, std::string("ustar\00000", 8));
  octal(329, 7, fields.device_major);
  octal(337, 7, fields.device_minor);
  unsigned sum = 0;
  for (const char byte : block) {
    sum += static_cast<unsigned char>(byte);
  }
  put(148, 8, fmt::format("{:06o}", sum) + std::string("\0 ", 2));
  data_ += block;
  return *this;
}

RawTar& RawTar::content(const std::string& raw) {
  data_ += raw;
  data_.append((512 - raw.size() % 512) % 512, '\0');
  return *this;
}

RawTar& RawTar::bytes(const std::string& raw) {
  data_ += raw;
  return *this;
}

RawTar& RawTar::file(const std::string& name, const std::string& text) {
  return header({.name = name, .size_bytes = text.size()}).content(text);
}
RawTar& RawTar::directory(const std::string& name, unsigned mode) {
  return header({.name = name, .type = '5', .mode = mode});
}
RawTar& RawTar::link(const std::string& name, const std::string& target) {
  return header({.name = name, .type = '2', .link_target = target});
}
RawTar& RawTar::hard_link(const std::string& name, const std::string& target) {
  return header({.name = name, .type = '1', .link_target = target});
}
RawTar& RawTar::fifo(const std::string& name) { return header({.name = name, .type = '6'}); }
RawTar& RawTar::device(const std::string& name, char type, unsigned major, unsigned minor) {
  return header({.name = name, .type = type, .device_major = major, .device_minor = minor});
}

RawTar& RawTar::pax(const std::vector<std::pair<std::string, std::string>>& records, char type) {
  std::string text;
  for (const auto& [key, value] : records) {
    const std::string record = " " + key + "=" + value + "\n";
    std::size_t size = record.size() + 1;
    while (std::to_string(size).size() + record.size() != size) {
      ++size;
    }
    text += std::to_string(size) + record;
  }
  return header({.name = "PaxHeader/x", .type = type, .size_bytes = text.size()}).content(text);
}

RawTar& RawTar::gnu_long(char type, const std::string& name) {
  return header({.name = "././@LongLink", .type = type, .size_bytes = name.size() + 1})
      .content(name + std::string(1, '\0'));
}

}  // namespace sbench::testing
