// recordings.h: what RUN steps changed when they were run for real, kept, and replayed where they cannot run.
//
//   DIR/KEY.tar    the step's change set, an uncompressed OCI layer tar; KEY: the step's key in the build
//                  cache, so that a recording stands for the same command on the same layers and no other
//   DIR/KEY.txt    a line with the tar's SHA-256, and the instruction
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "drivers/base/result.h"
#include "drivers/layer/byte_stream.h"

namespace sbench {

/// Writes the change set that `diff` makes, unless there is one of that key already. Files appear whole or not at all.
[[nodiscard]] Status record_step(const std::filesystem::path& directory, const std::string& key,
                                 const std::string& instruction, const std::function<Status(ByteSink&)>& diff);

/// The tar, checked and kept in memory for the life of the process; null when there is none of that key.
/// EINVAL naming the file when it is not what was recorded.
[[nodiscard]] Result<std::shared_ptr<const std::string>> recorded_step(const std::filesystem::path& directory,
                                                                       const std::string& key);

}  // namespace sbench
