#include "tests/crash/container_files.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>

#include "drivers/base/check.h"
#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/rng.h"
#include "drivers/layer/tar_writer.h"

namespace sbench::crash {

namespace {

constexpr std::array<const char*, 6> kKindWords = {"append", "patch", "swap", "spool", "removal", "rows"};
constexpr int kLibraries = 48;

/// Bytes that no compression shrinks.
std::string noise(std::uint64_t bytes, const std::string& name) {
  Rng rng(xxh3(std::as_bytes(std::span(name))), "container file");
  std::string text(bytes, '\0');
  for (std::uint64_t at = 0; at < bytes; at += 8) {
    const std::uint64_t value = rng.next();
    std::memcpy(text.data() + at, &value, std::min<std::uint64_t>(8, bytes - at));
  }
  return text;
}

std::uint64_t number_of(const std::string& name, std::uint64_t below) {
  return Rng(xxh3(std::as_bytes(std::span(name))), "size").below(below);
}

/// An SQLite database without rows, as bytes.
Result<std::string> empty_database() {
  std::string name = "/tmp/sbench-crash-db-XXXXXX";
  const Fd file(::mkstemp(name.data()));
  sqlite3* database = nullptr;
  const bool made = file.valid() && ::sqlite3_open(name.c_str(), &database) == SQLITE_OK &&
                    ::sqlite3_exec(database, "CREATE TABLE entry(id INTEGER PRIMARY KEY, text TEXT NOT NULL)", nullptr,
                                   nullptr, nullptr) == SQLITE_OK;
  ::sqlite3_close(database);
  auto bytes = made ? read_text(name) : Result<std::string>(plain_error(EIO, "SQLite cannot make a database"));
  ::unlink(name.c_str());
  return bytes;
}

Status add_directory(TarWriter& tar, const std::string& path) {
  TarEntry entry;
  entry.path = path;
  entry.mode = S_IFDIR | 0755;
  return tar.add(entry);
}

Status add_file(TarWriter& tar, Manifest& shown, const std::string& path, std::string content) {
  TarEntry entry;
  entry.path = path;
  entry.mode = S_IFREG | 0644;
  entry.size_bytes = content.size();
  SBENCH_TRY(tar.add(entry));
  if (!content.empty()) {
    SBENCH_TRY(tar.write_data(std::as_bytes(std::span(content))));
  }
  shown[path] = std::move(content);
  return {};
}

}  // namespace

const char* to_string(FileKind kind) { return kKindWords[static_cast<std::size_t>(kind)]; }

FileKind parse_kind(const std::string& word) {
  for (std::size_t i = 0; i < kKindWords.size(); ++i) {
    if (word == kKindWords[i]) {
      return static_cast<FileKind>(i);
    }
  }
  SBENCH_CHECK(false);
}

Result<ContainerImage> make_container_image() {
  ContainerImage image;
  MemorySink base_sink;
  TarWriter base(base_sink);
  for (const char* folder : {"usr", "usr/lib", "srv", "srv/spool", "srv/tmp", "etc", "var", "var/log"}) {
    SBENCH_TRY(add_directory(base, folder));
  }
  for (int i = 0; i < kLibraries; ++i) {
    const std::string path = fmt::format("usr/lib/f{:02}", i);
    const std::uint64_t bytes = i % 12 == 11 ? 150'000 + number_of(path, 150'000) : number_of(path, 20'000);
    SBENCH_TRY(add_file(base, image.base, path, noise(bytes, "base:" + path)));
  }
  for (const char* path : {"srv/table-0", "srv/table-1"}) {
    SBENCH_TRY(add_file(base, image.base, path, noise(400'000, path)));
  }
  SBENCH_TRY(add_file(base, image.base, "var/log/app", noise(30'000, "log")));
  SBENCH_TRY(base.finish());
  image.base_tar = base_sink.data();

  image.app = image.base;
  MemorySink app_sink;
  TarWriter app(app_sink);
  SBENCH_TRY(add_directory(app, "usr"));
  SBENCH_TRY(add_directory(app, "usr/lib"));
  for (int i = 0; i < kLibraries; i += 8) {
    const std::string path = fmt::format("usr/lib/f{:02}", i);
    SBENCH_TRY(add_file(app, image.app, path, noise(number_of("app:" + path, 30'000), "app:" + path)));
    const std::string gone = fmt::format("usr/lib/f{:02}", i + 1);
    SBENCH_TRY(app.add_whiteout(gone));
    image.app.erase(gone);
  }
  SBENCH_TRY(add_directory(app, "srv"));
  SBENCH_TRY_SET(const std::string database, empty_database());
  SBENCH_TRY(add_file(app, image.app, "srv/wal.db", database));
  SBENCH_TRY(add_file(app, image.app, "srv/rollback.db", database));
  SBENCH_TRY(app.finish());
  image.app_tar = app_sink.data();
  return image;
}

std::string version_content(const std::string& path, std::uint64_t version) {
  const std::string name = fmt::format("{}#{}", path, version);
  const std::uint64_t bytes =
      number_of(name, 8) == 0 ? 10'000 + number_of(name + "b", 60'000) : 1 + number_of(name + "s", 3000);
  return noise(bytes, name);
}

Patch patch_of(const std::string& path, std::uint64_t version, std::uint64_t size_bytes) {
  const std::string name = fmt::format("{}~{}", path, version);
  Patch patch;
  patch.offset = number_of(name, size_bytes);
  const std::uint64_t bytes = 1 + number_of(name + "b", number_of(name + "c", 4) == 0 ? 40'000 : 4096);
  patch.data = noise(std::min(bytes, size_bytes - patch.offset), name);
  return patch;
}

std::string row_text(std::uint64_t row) {
  return fmt::format("{:016x}", number_of(fmt::format("row {}", row), ~std::uint64_t{0}));
}

}  // namespace sbench::crash
