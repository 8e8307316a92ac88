#include "workloads/dockerfile/recordings.h"

#include <fcntl.h>
#include <unistd.h>

#include <map>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/layer/digest_sink.h"

namespace sbench {

namespace fs = std::filesystem;

Status record_step(const fs::path& directory, const std::string& key, const std::string& instruction,
                   const std::function<Status(ByteSink&)>& diff) {
  const fs::path facts = directory / (key + ".txt");
  if (fs::exists(facts)) {
    return {};
  }
  SBENCH_TRY(make_directories(directory));
  const fs::path tar = directory / (key + ".tar");
  const fs::path unfinished = tar.string() + ".new";
  SBENCH_TRY_SET(const Fd file, open_file(unfinished, O_WRONLY | O_CREAT | O_TRUNC, 0644));
  FdSink written(file.get(), unfinished.string());
  DigestSink sink(&written);
  SBENCH_TRY(diff(sink));
  if (::fsync(file.get()) != 0 || ::rename(unfinished.c_str(), tar.c_str()) != 0) {
    return errno_error("cannot keep {}", tar.string());
  }
  return write_text_atomic(facts, fmt::format("{}\n{}\n", sink.sha256(), instruction));
}

Result<std::shared_ptr<const std::string>> recorded_step(const fs::path& directory, const std::string& key) {
  static std::map<fs::path, std::shared_ptr<const std::string>> kept;
  const fs::path tar = directory / (key + ".tar");
  if (const auto known = kept.find(tar); known != kept.end()) {
    return known->second;
  }
  const fs::path facts = directory / (key + ".txt");
  if (!fs::exists(facts)) {
    return std::shared_ptr<const std::string>();
  }
  SBENCH_TRY_SET(const std::string text, read_text(facts));
  SBENCH_TRY_SET(std::string content, read_text(tar));
  if (text.substr(0, text.find('\n')) != sha256_hex(content)) {
    return plain_error(EINVAL, "{} is not what {} says was recorded", tar.string(), facts.string());
  }
  return kept[tar] = std::make_shared<const std::string>(std::move(content));
}

}  // namespace sbench
