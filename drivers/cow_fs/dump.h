// dump.h: a pool's structure as lines of text, for people and for comparing.
#pragma once

#include <functional>
#include <string_view>

#include "drivers/block/block_io.h"

namespace sbench::cow_fs {

/// Label, uberblock, datasets, and every object with its attributes and names; no file content. EUCLEAN when damaged.
[[nodiscard]] Status dump_pool(BlockIo& io, const std::function<Status(std::string_view line)>& line);

}  // namespace sbench::cow_fs
