// layer_root.h: a directory that layer tars are unpacked in, beside one that nothing may touch.
#pragma once

#include <string>

#include "drivers/layer/apply.h"

namespace sbench::fuzz {

/// Where links out of the root lead to.
[[nodiscard]] const std::string& outside_folder();
/// Unpacks the tar in a fresh root with a few entries and links out of it, in one of the whiteout styles; requires that what
/// stands outside is as it was, and removes the root.
void unpack_and_look_outside(const std::string& tar, WhiteoutStyle style);

}  // namespace sbench::fuzz
