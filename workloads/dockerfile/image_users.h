// image_users.h: users and groups as a container's own /etc/passwd and /etc/group name them.
#pragma once

#include <cstdint>
#include <string>

#include "drivers/layer/contained.h"

namespace sbench {

struct ImageUser {
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::string home = "/";
};

/// Which group counts when `text` names none: USER takes the user's primary group (root's for a number
/// without an entry); --chown takes the group with the user's number, as Docker documents both.
enum class MissingGroup { primary, same_number };

/// The user that `text`, "USER[:GROUP]" of names or numbers, means in the tree at `root`. ENOENT for a name that
/// is not there, EINVAL for text of another form.
[[nodiscard]] Result<ImageUser> find_image_user(ContainedRoot& root, const std::string& text, MissingGroup missing);

}  // namespace sbench
