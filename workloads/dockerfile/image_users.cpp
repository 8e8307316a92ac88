#include "workloads/dockerfile/image_users.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <charconv>
#include <optional>
#include <sstream>
#include <vector>

#include "drivers/base/file.h"

namespace sbench {
namespace {

constexpr std::size_t kDatabaseBytesMax = 1 << 20;

std::optional<std::uint32_t> number(const std::string& text) {
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc{} && end == text.data() + text.size() && value != UINT32_MAX;
  return whole ? std::optional(value) : std::nullopt;
}

/// Rows of /etc/NAME, split at colons; none where there is no such file.
Result<std::vector<std::vector<std::string>>> rows_of(ContainedRoot& root, const char* name) {
  std::vector<std::vector<std::string>> rows;
  const auto folder = root.open_directory("etc");
  if (!folder.ok()) {
    return rows;
  }
  const Fd file(::openat(folder->get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (!file.valid() || ::fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) {
    return rows;
  }
  std::string text(std::min<std::size_t>(static_cast<std::size_t>(status.st_size), kDatabaseBytesMax), '\0');
  const ssize_t count = ::pread(file.get(), text.data(), text.size(), 0);
  if (count < 0) {
    return errno_error("cannot read the image's /etc/{}", name);
  }
  text.resize(static_cast<std::size_t>(count));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream fields(line);
    rows.emplace_back();
    for (std::string field; std::getline(fields, field, ':');) {
      rows.back().push_back(field);
    }
  }
  return rows;
}

/// The row that `text`, a name or a number, means.
const std::vector<std::string>* find_row(const std::vector<std::vector<std::string>>& rows, const std::string& text,
                                         std::size_t fields_min) {
  const auto wanted = number(text);
  for (const auto& row : rows) {
    if (row.size() >= fields_min && number(row[2]).has_value() && (wanted ? number(row[2]) == wanted : row[0] == text)) {
      return &row;
    }
  }
  return nullptr;
}

}  // namespace

Result<ImageUser> find_image_user(ContainedRoot& root, const std::string& text, MissingGroup missing) {
  const auto colon = text.find(':');
  const std::string user = text.substr(0, colon);
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);
  if (user.empty() || (colon != std::string::npos && (group.empty() || group.find(':') != std::string::npos))) {
    return plain_error(EINVAL, "'{}' is no USER[:GROUP]", text);
  }
  ImageUser found;
  SBENCH_TRY_SET(const auto users, rows_of(root, "passwd"));
  const auto* row = find_row(users, user, 4);
  if (row == nullptr && !number(user)) {
    return plain_error(ENOENT, "the image's /etc/passwd has no user {}", user);
  }
  found.uid = row != nullptr ? *number((*row)[2]) : *number(user);
  found.gid = missing == MissingGroup::same_number ? found.uid : row != nullptr ? number((*row)[3]).value_or(0) : 0;
  if (row != nullptr && row->size() > 5 && (*row)[5].starts_with('/')) {
    found.home = (*row)[5];
  }
  if (group.empty()) {
    return found;
  }
  SBENCH_TRY_SET(const auto groups, rows_of(root, "group"));
  const auto* group_row = find_row(groups, group, 3);
  if (group_row == nullptr && !number(group)) {
    return plain_error(ENOENT, "the image's /etc/group has no group {}", group);
  }
  found.gid = group_row != nullptr ? *number((*group_row)[2]) : *number(group);
  return found;
}

}  // namespace sbench
