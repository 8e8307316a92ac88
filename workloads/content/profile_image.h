// profile_image.h: layers of the shape that a profile describes, from a seed.
#pragma once

#include "images/profile.h"
#include "workloads/content/image.h"

namespace sbench {

/// One layer on `below`, the merged tree of the layers under it. Counts and bytes are the profile's;
/// names and contents come from `spec`, whose level tells layers apart.
[[nodiscard]] ImageLayer profile_layer(const LayerProfile& profile, const MergedImage& below, const LayerSpec& spec);

}  // namespace sbench
