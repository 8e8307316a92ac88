// upper_diff.h: what a union driver's upper directory alone says was changed.
//
// Native diff: cost is proportional to the change. Whiteouts and opaque marks
// in the upper directory become `.wh.` entries of the tar.
#pragma once

#include <filesystem>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/layer/apply.h"
#include "drivers/layer/byte_stream.h"
#include "drivers/layer/change.h"

namespace sbench {

/// Packs the upper directory as a layer tar. `style` is overlay or aufs (a bug otherwise).
/// EXDEV when the upper directory alone does not tell the content (redirected directories,
/// metacopy files): use the naive differ, with a fresh sink, as part of the tar may be written.
[[nodiscard]] Status write_upper(const std::filesystem::path& upper, WhiteoutStyle style, ByteSink& tar);

/// The same as changes. `lowers` (nearest first) tell added from modified and
/// expand an opaque directory into the deletions it stands for.
[[nodiscard]] Result<std::vector<Change>> upper_changes(const std::filesystem::path& upper, WhiteoutStyle style,
                                                        const std::vector<std::filesystem::path>& lowers);

}  // namespace sbench
