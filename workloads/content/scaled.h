// scaled.h: cases that repeat a published measurement at its own size, or at a named fraction of it.
//
// The parameter `scale` divides sizes and counts: 1 is as published, 64 a sixty-fourth.
// It is part of the case's name, so a result always says which it was.
#pragma once

#include "workloads/workload.h"

namespace sbench {

/// The parameter `scale` with its values by profile.
[[nodiscard]] ParamSpec scale_param(std::vector<std::string> smoke, std::vector<std::string> quick,
                                    std::vector<std::string> standard, std::vector<std::string> full);
/// `published`, divided by the case's scale; never below `least`.
[[nodiscard]] std::uint64_t scaled(const Case& c, std::uint64_t published, std::uint64_t least = 1);

/// `run`, for cases that may need more than there is: a full device (ENOSPC, EDQUOT), and too many open files (EMFILE)
/// where fewer than usual are allowed (fd.h), are answers about the machine, not failures of the driver.
[[nodiscard]] std::function<Status(Case&)> where_it_fits(std::function<Status(Case&)> run);

/// Nothing, or cannot_run() when `layers` on top of the given image are more than the driver stacks.
[[nodiscard]] Status deep_enough(Case& c, std::uint64_t layers);

}  // namespace sbench
