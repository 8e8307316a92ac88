#include "tests/crash/containers.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "drivers/base/file.h"
#include "drivers/base/rng.h"

namespace sbench::crash {

namespace {

namespace fs = std::filesystem;

Status sync_fd(const Fd& fd, const fs::path& path) {
  return ::fsync(fd.get()) == 0 ? Status() : Status(errno_error("cannot sync {}", path.string()));
}

Status sync_directory(const fs::path& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY | O_DIRECTORY));
  return sync_fd(fd, path);
}

/// A connection whose every commit is durable. With FULL alone, a rollback journal's removal, which is the commit, is
/// not synced: SQLite's own documentation says that such a transaction may roll back after a power loss.
class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const fs::path& path, const char* journal) {
    std::unique_ptr<Connection> made(new Connection());
    if (::sqlite3_open_v2(path.c_str(), &made->handle_, SQLITE_OPEN_READWRITE, nullptr) != SQLITE_OK) {
      return made->failure();
    }
    SBENCH_TRY(made->execute(fmt::format("PRAGMA journal_mode={}", journal)));
    SBENCH_TRY(made->execute("PRAGMA synchronous=EXTRA"));
    return made;
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { ::sqlite3_close(handle_); }

  Status execute(const std::string& sql) {
    return ::sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK ? Status() : Status(failure());
  }

 private:
  Connection() = default;
  [[nodiscard]] Error failure() const { return plain_error(EIO, "SQLite: {}", ::sqlite3_errmsg(handle_)); }
  sqlite3* handle_ = nullptr;
};

/// A mounted container at work.
class Container {
 public:
  static Result<Container> start(Driver& driver, const ContainerImage& image, Marks& marks, const LayerId& key,
                                 std::uint64_t seed) {
    SBENCH_TRY_SET(Mount mount, driver.mount(key));
    return Container(std::move(mount), image, marks, key, seed);
  }

  Status step() {
    switch (rng_.below(9)) {
      case 0:
        return append("var/log/app");
      case 1:
        return append(fmt::format("var/log/new-{}", rng_.below(3)));
      case 2:
        return append(fmt::format("usr/lib/f{:02}", 2 + 12 * rng_.below(4)));  // a small file of the image
      case 3:
        return patch(fmt::format("srv/table-{}", rng_.below(2)));
      case 4:
        return patch(fmt::format("usr/lib/f{:02}", 11 + 12 * rng_.below(3)));
      case 5:
        return replace(FileKind::swap, fmt::format("etc/conf-{}", rng_.below(2)), "etc");
      case 6:
        return spool();
      case 7:
        return rng_.below(4) == 0 ? remove() : row("srv/rollback.db", "delete");
      default:
        return rng_.below(4) == 0 ? scribble() : row("srv/wal.db", "wal");
    }
  }

  Status stop() {
    databases_.clear();
    return mount_.release();
  }

 private:
  Container(Mount mount, const ContainerImage& image, Marks& marks, LayerId key, std::uint64_t seed)
      : mount_(std::move(mount)), image_(image), marks_(marks), key_(std::move(key)), rng_(seed, key_) {}

  /// `act` makes the next version of the file, and returns when it is durable.
  template <typename Act>
  Status acknowledged(FileKind kind, const std::string& path, Act&& act) {
    const std::uint64_t version = versions_[path] + 1;
    const std::string what = fmt::format("{} {} {} {}", key_, to_string(kind), version, path);
    SBENCH_TRY(marks_.mark("try " + what));
    SBENCH_TRY(act(version));
    versions_[path] = version;
    return marks_.mark("did " + what);
  }
  [[nodiscard]] fs::path at(const std::string& path) const { return mount_.path() / path; }

  Status append(const std::string& path) {
    return acknowledged(FileKind::append, path, [&](std::uint64_t version) -> Status {
      const bool is_new = ::access(at(path).c_str(), F_OK) != 0;
      SBENCH_TRY_SET(const Fd fd, open_file(at(path), O_WRONLY | O_CREAT | O_APPEND));
      SBENCH_TRY(write_all(fd.get(), version_content(path, version), path));
      if (version % 2 == 0 && ::fdatasync(fd.get()) != 0) {
        return errno_error("cannot sync {}", path);
      }
      SBENCH_TRY(version % 2 == 0 ? Status() : sync_fd(fd, path));
      return is_new ? sync_directory(at(path).parent_path()) : Status();
    });
  }

  Status patch(const std::string& path) {
    return acknowledged(FileKind::patch, path, [&](std::uint64_t version) -> Status {
      SBENCH_TRY_SET(const Fd fd, open_file(at(path), O_RDWR));
      const Patch patch = patch_of(path, version, image_.app.at(path).size());
      if (::pwrite(fd.get(), patch.data.data(), patch.data.size(), static_cast<off_t>(patch.offset)) !=
          static_cast<ssize_t>(patch.data.size())) {
        return errno_error("cannot write {}", path);
      }
      return sync_fd(fd, path);
    });
  }

  Status replace(FileKind kind, const std::string& path, const std::string& folder) {
    return acknowledged(kind, path, [&](std::uint64_t version) -> Status {
      const fs::path temporary = at(folder) / ".new";
      SBENCH_TRY_SET(Fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_TRUNC));
      SBENCH_TRY(write_all(fd.get(), version_content(path, version), path));
      SBENCH_TRY(sync_fd(fd, path));
      fd.reset();
      if (::rename(temporary.c_str(), at(path).c_str()) != 0) {
        return errno_error("cannot rename {}", path);
      }
      return sync_directory(at(path).parent_path());
    });
  }

  Status unlink(FileKind kind, const std::string& path) {
    return acknowledged(kind, path, [&](std::uint64_t) -> Status {
      if (::unlink(at(path).c_str()) != 0) {
        return errno_error("cannot remove {}", path);
      }
      return sync_directory(at(path).parent_path());
    });
  }

  Status spool() {
    const std::string path = fmt::format("srv/spool/{}", rng_.below(6));
    return versions_[path] % 2 == 0 ? replace(FileKind::spool, path, "srv/tmp") : unlink(FileKind::spool, path);
  }

  Status remove() {
    const std::string path = fmt::format("usr/lib/f{:02}", 4 + 8 * rng_.below(5));
    return versions_[path] == 0 ? unlink(FileKind::removal, path) : spool();
  }

  Status row(const std::string& path, const char* journal) {
    return acknowledged(FileKind::rows, path, [&](std::uint64_t version) -> Status {
      auto& database = databases_[path];
      if (!database) {
        SBENCH_TRY_SET(database, Connection::open(at(path), journal));
      }
      return database->execute(fmt::format("INSERT INTO entry VALUES({}, '{}')", version, row_text(version)));
    });
  }

  /// Nobody syncs it, and nobody may miss it.
  Status scribble() {
    SBENCH_TRY_SET(const Fd fd, open_file(at("srv/tmp/scribble"), O_WRONLY | O_CREAT));
    const std::string text(1 + rng_.below(100'000), 's');
    return ::pwrite(fd.get(), text.data(), text.size(), static_cast<off_t>(rng_.below(300'000))) > 0
               ? Status()
               : Status(errno_error("cannot write srv/tmp/scribble"));
  }

  Mount mount_;
  const ContainerImage& image_;
  Marks& marks_;
  LayerId key_;
  Rng rng_;
  std::map<std::string, std::uint64_t> versions_;
  std::map<std::string, std::unique_ptr<Connection>> databases_;
};

class Run {
 public:
  Run(Driver& driver, const ContainerImage& image, Marks& marks, std::uint64_t seed)
      : driver_(driver), image_(image), marks_(marks), seed_(seed) {}

  Status all(int steps) {
    SBENCH_TRY(pull(kBaseLayer, std::nullopt, image_.base_tar));
    SBENCH_TRY(pull(kAppLayer, kBaseLayer, image_.app_tar));
    SBENCH_TRY(prepare("c1", kAppLayer));
    SBENCH_TRY(prepare("c2", kAppLayer));
    SBENCH_TRY(sync());
    SBENCH_TRY_SET(auto first, start("c1"));
    SBENCH_TRY_SET(auto second, start("c2"));
    SBENCH_TRY(both_work(first, steps, second, steps / 3 + 1));
    SBENCH_TRY(first.stop());
    SBENCH_TRY(commit("snap", "c1"));
    SBENCH_TRY(second.step());
    SBENCH_TRY(sync());
    SBENCH_TRY(prepare("c3", kAppLayer));
    SBENCH_TRY(sync());
    SBENCH_TRY_SET(auto third, start("c3"));
    for (int i = 0; i < steps / 3; ++i) {
      SBENCH_TRY(third.step());
    }
    SBENCH_TRY(second.stop());
    SBENCH_TRY(remove("c2"));
    SBENCH_TRY(third.step());
    SBENCH_TRY(prepare("c4", std::string("snap")));  // and nothing of it is acknowledged
    SBENCH_TRY(third.step());
    SBENCH_TRY(third.stop());
    SBENCH_TRY(remove("c4"));
    SBENCH_TRY(remove("c3"));
    return sync();
  }

 private:
  /// At the same time, each in a thread of its own.
  static Status both_work(Container& first, int first_steps, Container& second, int second_steps) {
    Status other;
    std::thread thread([&] {
      for (int i = 0; i < second_steps && other.ok(); ++i) {
        other = second.step();
      }
    });
    Status own;
    for (int i = 0; i < first_steps && own.ok(); ++i) {
      own = first.step();
    }
    thread.join();
    return own.ok() ? other : own;
  }

  Status pull(const LayerId& name, const ParentId& parent, const std::string& tar) {
    const LayerId key = name + "-pull";
    SBENCH_TRY(prepare(key, parent));
    MemorySource source(tar);
    SBENCH_TRY(driver_.apply(key, source));
    SBENCH_TRY(commit(name, key));
    return sync();
  }
  Status prepare(const LayerId& key, const ParentId& parent) {
    SBENCH_TRY(marks_.mark("layer prepare " + key));
    return driver_.prepare(key, parent);
  }
  Status commit(const LayerId& name, const LayerId& key) {
    SBENCH_TRY(marks_.mark(fmt::format("layer commit {} {}", name, key)));
    return driver_.commit(name, key);
  }
  Status remove(const LayerId& id) {
    SBENCH_TRY(marks_.mark("layer remove " + id));
    return driver_.remove(id);
  }
  Status sync() {
    SBENCH_TRY(driver_.sync());
    return marks_.mark("synced");
  }
  Result<Container> start(const LayerId& key) { return Container::start(driver_, image_, marks_, key, seed_); }

  Driver& driver_;
  const ContainerImage& image_;
  Marks& marks_;
  std::uint64_t seed_;
};

}  // namespace

Status run_containers(Driver& driver, const ContainerImage& image, Marks& marks, std::uint64_t seed, int steps) {
  return Run(driver, image, marks, seed).all(steps);
}

}  // namespace sbench::crash
