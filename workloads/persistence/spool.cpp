// spool.cpp: a spool of small files, as mail servers and queues keep: write, sync, rename, read, delete.
#include <fcntl.h>
#include <unistd.h>

#include "drivers/base/file.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/persistence/application.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kWaiting = 64;  ///< messages the image comes with; as many are in the queue at any time

class Spool final : public Application {
 public:
  Spool(std::uint64_t seed, std::uint64_t messages) : seed_(seed), messages_(messages) {}

  Status install(const fs::path& data) override {
    SBENCH_TRY(make_directories(data / "tmp"));
    SBENCH_TRY(make_directories(data / "queue"));
    for (std::uint64_t i = 0; i < kWaiting; ++i) {
      SBENCH_TRY(make_file(queued(data, i), content(i), size_of(i)));
    }
    return {};
  }

  /// Each message is delivered so that a crash leaves it whole or not there; the oldest is taken out.
  Status work(Case& c, const fs::path& data) override {
    for (std::uint64_t i = kWaiting; i < kWaiting + messages_; ++i) {
      SBENCH_TRY(c.op("deliver", [&] { return deliver(data, i); }));
      SBENCH_TRY(c.op("take", [&] { return take(data, i - kWaiting); }));
    }
    return {};
  }

  Status check(const fs::path& data, bool worked) override {
    const std::uint64_t first = worked ? taken() : 0;
    const std::uint64_t end = kWaiting + (worked ? messages_ : 0);
    for (std::uint64_t i = first; i < end; ++i) {
      SBENCH_TRY(verify_file(queued(data, i), content(i), size_of(i)));
    }
    std::error_code error;
    std::uint64_t found = 0;
    for (fs::directory_iterator it(data / "queue", error), last; !error && it != last; it.increment(error)) {
      ++found;
    }
    SBENCH_TRY(verify(!error && found == end - first, fmt::format("the queue holds {} messages, {} are due", found,
                                                                  end - first)));
    return verify(fs::is_empty(data / "tmp", error) && !error, "no half-written message is left");
  }

  std::uint64_t bytes_written() const override {
    std::uint64_t bytes = 0;
    for (std::uint64_t i = kWaiting; i < kWaiting + messages_; ++i) {
      bytes += size_of(i);
    }
    return bytes;
  }

 private:
  /// One message is taken for each one delivered.
  [[nodiscard]] std::uint64_t taken() const { return messages_; }
  [[nodiscard]] Content content(std::uint64_t i) const { return Content(seed_ + i); }
  [[nodiscard]] static std::uint64_t size_of(std::uint64_t i) { return 700 + (i * 2654435761U) % 6000; }
  [[nodiscard]] static fs::path queued(const fs::path& data, std::uint64_t i) {
    return data / "queue" / fmt::format("{:08}", i);
  }

  Status deliver(const fs::path& data, std::uint64_t i) {
    const fs::path temporary = data / "tmp" / fmt::format("{:08}", i);
    SBENCH_TRY_SET(Fd fd, open_file(temporary, O_WRONLY | O_CREAT | O_EXCL));
    SBENCH_TRY(write_range(fd.get(), content(i), 0, size_of(i), temporary));
    SBENCH_TRY(fsync_fd(fd.get(), temporary));
    fd.reset();
    if (::rename(temporary.c_str(), queued(data, i).c_str()) != 0) {
      return errno_error("cannot rename {}", temporary.string());
    }
    return fsync_path(data / "queue");
  }

  Status take(const fs::path& data, std::uint64_t i) {
    SBENCH_TRY(verify_file(queued(data, i), content(i), size_of(i)));
    return ::unlink(queued(data, i).c_str()) == 0 ? Status()
                                                  : Status(errno_error("cannot delete {}", queued(data, i).string()));
  }

  std::uint64_t seed_;
  std::uint64_t messages_;
};

Status run(Case& c) {
  Spool spool(content_seed(c), c.params().number("messages"));
  return run_application(c, "persistence-spool", spool);
}

const RegisterWorkload kRegistered{{
    .name = "persistence.spool",
    .summary = "small files written, synced, renamed, read and deleted, with the spool in three places",
    .version = 1,
    .cache = "warm",
    .durability = "fsync-per-op",
    .params = {place_param(), {"messages", "messages passed through", {{{"20"}, {"100"}, {"2000"}, {"2000"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
