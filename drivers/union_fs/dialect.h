// dialect.h: how the two dialects spell "deleted", "opaque", "elsewhere" and "copied from".
#pragma once

#include <string>
#include <string_view>

#include "drivers/layer/whiteout.h"
#include "drivers/union_fs/union_fs.h"

namespace sbench::union_fs {

struct Dialect {
  explicit Dialect(const UnionOptions& options)
      : aufs(options.dialect == UnionDialect::aufs),
        prefix(options.userxattr ? "user.overlay." : "trusted.overlay."),
        opaque(prefix + "opaque"),
        redirect(prefix + "redirect"),
        metacopy(prefix + "metacopy"),
        origin(prefix + "origin"),
        impure(prefix + "impure"),
        whiteout(prefix + "whiteout") {}

  bool aufs;
  std::string prefix;
  std::string opaque;
  std::string redirect;
  std::string metacopy;
  std::string origin;
  std::string impure;
  std::string whiteout;

  /// Names that never appear in the union.
  [[nodiscard]] bool reserved(std::string_view name) const { return aufs && name.starts_with(kWhiteoutPrefix); }
  /// Longest name: aufs needs room for the prefix of a whiteout.
  [[nodiscard]] std::size_t name_max() const { return aufs ? 255 - 4 : 255; }
  [[nodiscard]] bool own_xattr(std::string_view name) const {
    return name.starts_with("trusted.overlay.") || name.starts_with(prefix);
  }
};

[[nodiscard]] inline std::string whiteout_of(std::string_view name) { return std::string(kWhiteoutPrefix) += name; }

}  // namespace sbench::union_fs
