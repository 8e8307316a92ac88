#include "tests/crash/recorded_device.h"

#include <fcntl.h>
#include <unistd.h>

#include "drivers/backing/while_busy.h"
#include "drivers/base/file.h"
#include "tests/crash/recorded_files.h"

namespace sbench::crash {

namespace {

constexpr int kReleasePatience_ms = 5000;
constexpr int kReleaseStep_ms = 1;

}  // namespace

Result<std::unique_ptr<RecordedDevice>> RecordedDevice::make(const std::filesystem::path& folder,
                                                             std::uint64_t size_bytes) {
  std::unique_ptr<RecordedDevice> made(new RecordedDevice(folder));
  const auto target = folder / "recorded";
  SBENCH_TRY(make_directories(target));
  SBENCH_TRY_SET(const Fd image, open_file(folder / "image", O_RDWR | O_CREAT | O_TRUNC));
  SBENCH_TRY_SET(const Fd log, open_file(folder / "log", O_WRONLY | O_CREAT | O_TRUNC | O_APPEND));
  if (::ftruncate(image.get(), static_cast<off_t>(size_bytes)) != 0) {
    return errno_error("cannot make an image in {}", folder.string());
  }
  fuse::ServerOptions options;
  options.session.name = "recorded";
  options.session.threads = 1;
  options.session.passthrough = false;
  options.session.cache_s = 0;
  options.gives_up_mounts = true;
  options.keep_fds = {image.get(), log.get()};
  SBENCH_TRY_SET(
      made->server_, fuse::ServerProcess::start(target, options, [image = image.get(), log = log.get(), size_bytes]() {
        return Result<std::unique_ptr<FileSystem>>(std::make_unique<RecordedFiles>(Fd(image), size_bytes, Fd(log)));
      }));
  SBENCH_TRY_SET(made->device_, Device::attach_image(target / RecordedFiles::kDevice));
  if (!made->device_->direct_io()) {
    return plain_error(ENOTSUP, "no direct I/O through {}: its order would not be the device's", made->device_->path());
  }
  SBENCH_TRY_SET(made->marks_, open_file(target / RecordedFiles::kMarks, O_WRONLY));
  return made;
}

RecordedDevice::~RecordedDevice() { static_cast<void>(finish()); }

Status RecordedDevice::mark(const std::string& text) {
  if (::write(marks_.get(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return errno_error("cannot mark the log");
  }
  return {};
}

Status RecordedDevice::finish() {
  device_.reset();
  marks_.reset();
  if (!server_) {
    return {};
  }
  const auto server = std::move(server_);
  return while_busy(kReleasePatience_ms, kReleaseStep_ms, [&] { return server->stop(); });
}

}  // namespace sbench::crash
