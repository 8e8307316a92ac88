// deviations.h: what somebody else's program is known not to do as a plain directory does.
//
// A driver that runs a program of another project declares the program's known faults here, each
// a value of Deviation, in its own folder. The semantic check and the conformance tests excuse
// exactly those, and every list and report shows them beside the driver's numbers; anything else
// that differs is a failure, as for every driver. A driver of ours declares none: its faults are
// mended.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "drivers/layer/tree.h"

namespace sbench {

enum class Deviation {
  copied_up_folder_times,    ///< a lower directory shows the time at which something in it was copied up
  copied_up_folder_set_ids,  ///< a lower directory loses its set-id bits when something in it is copied up
  link_counts,               ///< a file with several names sometimes counts one, also while it is packed
};

/// One sentence for people.
[[nodiscard]] std::string to_string(Deviation deviation);

/// What the driver named `driver` declares; empty for nearly all.
[[nodiscard]] std::vector<Deviation> known_deviations(const std::string& driver);

/// `expected` with the values of `actual` wherever the two differ in a way that `known` excuses, so that
/// comparing the result with `actual` shows what is left. Of directories, only those are excused that
/// `lower`, the tree below the writable layer, has too. What was excused goes into `seen`, when given.
[[nodiscard]] Tree excuse(Tree expected, const Tree& actual, const Tree& lower, const std::vector<Deviation>& known,
                          std::set<Deviation>* seen = nullptr);

}  // namespace sbench
