// layer_test.h: what the tests of layer tars share: making files, tars byte by byte, unpacking, comparing.
#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/change.h"
#include "drivers/layer/tree.h"
#include "tests/support/must.h"
#include "tests/support/support.h"

namespace sbench::testing {

using test::code_of;
using test::must;

using Folder = std::filesystem::path;

/// Makes `name` a directory below the test's folder.
Folder make_folder(const TemporaryFolder& temporary, const std::string& name);
void write_file(const Folder& path, const std::string& content, unsigned mode = 0644);
std::string read_file(const Folder& path);
void make_link(const std::string& target, const Folder& path);
void make_hard_link(const Folder& existing, const Folder& path);
void make_device(const Folder& path, unsigned type, unsigned major, unsigned minor);
void make_fifo(const Folder& path);
void set_xattr(const Folder& path, const std::string& name, const std::string& value);
/// The attribute's value, or "(none)".
std::string xattr_of(const Folder& path, const std::string& name);
void set_mtime_ns(const Folder& path, std::int64_t time_ns);
struct stat status_of(const Folder& path);
bool stands(const Folder& path);
bool is_whiteout(const Folder& path);

/// Fails the test with one line for each difference.
void expect_equal_trees(const Tree& expected, const Tree& actual);
void expect_equal_trees(const Folder& expected, const Folder& actual);

/// apply_layer of a tar held in memory.
Result<std::uint64_t> unpack(const std::string& tar, const Folder& root, WhiteoutStyle style = WhiteoutStyle::erase);

/// "A etc/passwd", one string a change.
std::vector<std::string> letters(const std::vector<Change>& changes);

/// A tar made of blocks that no tar program would write.
class RawTar {
 public:
  struct Fields {
    std::string name;
    char type = '0';
    std::string link_target;
    unsigned mode = 0644;
    std::uint64_t size_bytes = 0;  ///< as the header claims
    unsigned device_major = 0;
    unsigned device_minor = 0;
    std::uint64_t uid = 0;
  };

  RawTar& header(const Fields& fields);
  RawTar& file(const std::string& name, const std::string& content);
  RawTar& directory(const std::string& name, unsigned mode = 0755);
  RawTar& link(const std::string& name, const std::string& target);
  RawTar& hard_link(const std::string& name, const std::string& target);
  RawTar& fifo(const std::string& name);
  RawTar& device(const std::string& name, char type, unsigned major, unsigned minor);
  RawTar& whiteout(const std::string& name) { return file(name, ""); }
  /// A pax extended header with these records; keys and values may hold anything.
  RawTar& pax(const std::vector<std::pair<std::string, std::string>>& records, char type = 'x');
  /// A GNU long name ('L') or long link target ('K') header.
  RawTar& gnu_long(char type, const std::string& name);
  RawTar& bytes(const std::string& raw);
  RawTar& content(const std::string& raw);

  /// With the two closing blocks.
  [[nodiscard]] std::string data() const { return data_ + std::string(1024, '\0'); }
  [[nodiscard]] std::string open_end() const { return data_; }

 private:
  std::string data_;
};

}  // namespace sbench::testing
