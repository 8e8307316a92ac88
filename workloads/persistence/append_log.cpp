// append_log.cpp: a log that every record reaches the device of before the next: journals, audit logs, brokers.
#include <fcntl.h>
#include <unistd.h>

#include "drivers/base/file.h"
#include "workloads/content/file_io.h"
#include "workloads/content/fixtures.h"
#include "workloads/persistence/application.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kExistingBytes = 1 << 20;  ///< the log the image comes with
constexpr std::uint64_t kRecordBytes = 512;

class AppendLog final : public Application {
 public:
  AppendLog(std::uint64_t seed, std::uint64_t records) : content_(seed), records_(records) {}

  Status install(const fs::path& data) override { return make_file(data / "log", content_, kExistingBytes); }

  Status work(Case& c, const fs::path& data) override {
    SBENCH_TRY_SET(const Fd fd, open_file(data / "log", O_WRONLY | O_APPEND));
    for (std::uint64_t i = 0; i < records_; ++i) {
      SBENCH_TRY(c.op("append", [&]() -> Status {
        SBENCH_TRY(write_range(fd.get(), content_, kExistingBytes + i * kRecordBytes, kRecordBytes, data / "log"));
        return ::fdatasync(fd.get()) == 0 ? Status() : Status(errno_error("cannot sync {}", (data / "log").string()));
      }));
    }
    return {};
  }

  Status check(const fs::path& data, bool worked) override {
    return verify_file(data / "log", content_, kExistingBytes + (worked ? bytes_written() : 0));
  }

  std::uint64_t bytes_written() const override { return records_ * kRecordBytes; }

 private:
  Content content_;
  std::uint64_t records_;
};

Status run(Case& c) {
  AppendLog log(content_seed(c), c.params().number("records"));
  return run_application(c, "persistence-log", log);
}

const RegisterWorkload kRegistered{{
    .name = "persistence.append_log",
    .summary = "512-byte records appended to a log, each synced, with the log in three places",
    .version = 1,
    .cache = "warm",
    .durability = "fsync-per-op",
    .params = {place_param(), {"records", "records appended", {{{"20"}, {"100"}, {"2000"}, {"2000"}}}}},
    .run = run,
}};

}  // namespace
}  // namespace sbench
