#include "tests/union_fs/union_test.h"

#include <fstream>
#include <functional>


namespace sbench::testing {
namespace {

std::string describe_file(const struct stat& status, const std::string& content, const std::string& xattrs,
                          const std::string& link_of) {
  std::string line = fmt::format("mode={:o} uid={} gid={}", status.st_mode, status.st_uid, status.st_gid);
  if (S_ISREG(status.st_mode)) {
    line += fmt::format(" size={} mtime={}.{:09} content={:016x}", status.st_size, status.st_mtim.tv_sec,
                        status.st_mtim.tv_nsec, std::hash<std::string>{}(content));
  } else if (S_ISLNK(status.st_mode)) {
    line += " target=" + content;
  } else if (S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode)) {
    line += fmt::format(" device={}", status.st_rdev);
  }
  if (!xattrs.empty()) {
    line += " xattrs=" + xattrs;
  }
  if (!link_of.empty()) {
    line += " link_of=" + link_of;
  }
  return line;
}

std::string shown_xattrs(const std::map<std::string, std::string>& xattrs) {
  std::string text;
  for (const auto& [name, value] : xattrs) {
    if (name.starts_with("trusted.overlay.") || name.starts_with("user.overlay.") || name == "security.selinux") {
      continue;
    }
    text += name + "=";
    for (const char c : value) {
      text += fmt::format("{:02x}", static_cast<unsigned char>(c));
    }
    text += ";";
  }
  return text;
}

}  // namespace

std::map<std::string, std::string> describe(FileSystem& fs) {
  std::map<std::string, std::string> tree;
  std::map<ino_t, std::string> linked;
  PathCalls calls(fs);
  const std::function<void(const std::string&)> visit = [&](const std::string& path) {
    for (const auto& name : calls.names(path)) {
      const std::string at = path.empty() ? name : path + "/" + name;
      PathCalls::Held node;
      const int code = calls.walk(at, node);
      if (code != 0) {
        tree[at] = fmt::format("listed, but lookup says {}", code);
        continue;
      }
      const struct stat& status = node.status();
      std::string content;
      if (S_ISREG(status.st_mode)) {
        content = calls.content(at);
      } else if (S_ISLNK(status.st_mode)) {
        auto target = fs.read_link(node.node());
        content = target.ok() ? target.value() : "<error>";
      }
      std::map<std::string, std::string> xattrs;
      if (auto names = fs.xattr_names(node.node()); names.ok()) {
        for (std::size_t i = 0; i < names.value().size(); i += std::string_view(names.value().c_str() + i).size() + 1) {
          auto value = fs.xattr(node.node(), names.value().c_str() + i);
          xattrs[names.value().c_str() + i] = value.ok() ? value.value() : "<error>";
        }
      }
      std::string link_of;
      if (!S_ISDIR(status.st_mode)) {
        const auto [first, fresh] = linked.emplace(status.st_ino, at);
        link_of = fresh ? "" : first->second;
      }
      tree[at] = describe_file(status, content, shown_xattrs(xattrs), link_of);
      if (S_ISDIR(status.st_mode)) {
        visit(at);
      }
    }
  };
  visit("");
  return tree;
}

std::map<std::string, std::string> describe(const std::filesystem::path& root) {
  std::map<std::string, std::string> tree;
  std::map<ino_t, std::string> linked;
  const std::function<void(const std::string&)> visit = [&](const std::string& path) {
    std::set<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(root / path)) {
      names.insert(entry.path().filename());
    }
    for (const auto& name : names) {
      const std::string at = path.empty() ? name : path + "/" + name;
      const std::string full = root / at;
      struct stat status {};
      if (::lstat(full.c_str(), &status) != 0) {
        tree[at] = fmt::format("listed, but lstat says {}", errno);
        continue;
      }
      std::string content;
      if (S_ISREG(status.st_mode)) {
        std::ifstream in(full, std::ios::binary);
        content.assign(std::istreambuf_iterator<char>(in), {});
      } else if (S_ISLNK(status.st_mode)) {
        content = std::filesystem::read_symlink(full);
      }
      std::map<std::string, std::string> xattrs;
      char names_buffer[4096];
      const ssize_t size = ::llistxattr(full.c_str(), names_buffer, sizeof names_buffer);
      for (ssize_t i = 0; i < size; i += static_cast<ssize_t>(std::string_view(names_buffer + i).size()) + 1) {
        char value[4096];
        const ssize_t value_size = ::lgetxattr(full.c_str(), names_buffer + i, value, sizeof value);
        xattrs[names_buffer + i] = value_size < 0 ? "<error>" : std::string(value, static_cast<std::size_t>(value_size));
      }
      std::string link_of;
      if (!S_ISDIR(status.st_mode)) {
        const auto [first, fresh] = linked.emplace(status.st_ino, at);
        link_of = fresh ? "" : first->second;
      }
      tree[at] = describe_file(status, content, shown_xattrs(xattrs), link_of);
      if (S_ISDIR(status.st_mode)) {
        visit(at);
      }
    }
  };
  visit("");
  return tree;
}

void expect_same(const std::map<std::string, std::string>& expected, const std::map<std::string, std::string>& actual,
                 const std::string& what) {
  int shown = 0;
  for (const auto& [path, line] : expected) {
    const auto found = actual.find(path);
    if ((found == actual.end() || found->second != line) && shown++ < 8) {
      ADD_FAILURE() << what << ": " << path << "\n  expected " << line << "\n  actual   "
                    << (found == actual.end() ? "nothing" : found->second);
    }
  }
  for (const auto& [path, line] : actual) {
    if (!expected.contains(path) && shown++ < 8) {
      ADD_FAILURE() << what << ": unexpected " << path << " " << line;
    }
  }
}

void put_file(const std::filesystem::path& path, std::string_view content, mode_t mode) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << content;
  ASSERT_EQ(::chmod(path.c_str(), mode), 0);
}

UnionFolder::UnionFolder(std::size_t lowers) : lowers_(lowers) {
  ::umask(0);
  for (std::size_t i = 1; i <= lowers; ++i) {
    std::filesystem::create_directories(lower(i));
    ::chmod(lower(i).c_str(), 0755);
  }
  for (const char* name : {"upper", "work", "merged"}) {
    std::filesystem::create_directories(path(name));
    ::chmod(path(name).c_str(), 0755);
  }
}

UnionOptions UnionFolder::options(UnionDialect dialect) const {
  UnionOptions options;
  options.dialect = dialect;
  for (std::size_t i = 1; i <= lowers_; ++i) {
    options.lower.push_back(lower(i));
  }
  options.upper = upper();
  if (dialect == UnionDialect::overlay) {
    options.work = path("work");
  }
  options.sync = UnionSync::unordered;
  return options;
}

FileSystem& UnionFolder::open(const UnionOptions& options) {
  union_.reset();
  auto opened = open_union(options);
  if (!opened.ok()) {
    throw std::runtime_error("open_union: " + opened.error().what);
  }
  union_ = std::move(opened).value();
  return *union_;
}

}  // namespace sbench::testing
