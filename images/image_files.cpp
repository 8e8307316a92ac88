#include "images/image_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <array>
#include <cstring>
#include <map>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/memory_file.h"
#include "drivers/layer/tar_reader.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr int kLinksMax = 16;
constexpr std::size_t kFilesMax = 100'000;

/// Owns its descriptor, unlike FdSource.
class FileSource final : public ByteSource {
 public:
  FileSource(Fd fd, std::string what) : fd_(std::move(fd)), source_(fd_.get(), std::move(what)) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override { return source_.read(buffer); }

 private:
  Fd fd_;
  FdSource source_;
};

std::string parent_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, slash);
}

class DirectoryFiles final : public ImageFiles {
 public:
  DirectoryFiles(fs::path path, ContainedRoot root) : path_(std::move(path)), root_(std::move(root)) {}

  Result<std::optional<ImageFile>> find(const std::string& name) override {
    auto contained = contained_path(name);
    if (!contained.ok()) {
      return plain_error(EINVAL, "{}: the file name {} leads out of the image", path_.string(), shown(name));
    }
    auto folder = root_.open_directory(parent_of(*contained));
    if (!folder.ok()) {
      return folder.error().code == ENOENT ? Result<std::optional<ImageFile>>(std::optional<ImageFile>())
                                           : Result<std::optional<ImageFile>>(folder.error());
    }
    const std::string shown = (path_ / *contained).string();
    Fd fd(::openat(folder->get(), fs::path(*contained).filename().c_str(),
                   O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid()) {
      if (errno == ENOENT) {
        return std::optional<ImageFile>();
      }
      return errno == ELOOP ? plain_error(EINVAL, "{} is a symbolic link; sbench follows none out of an image", shown)
                            : errno_error("cannot open {}", shown);
    }
    struct stat status {};
    if (::fstat(fd.get(), &status) != 0) {
      return errno_error("cannot inspect {}", shown);
    }
    if (!S_ISREG(status.st_mode)) {
      return plain_error(EINVAL, "{} is no regular file", shown);
    }
    ImageFile file;
    file.size_bytes = static_cast<std::uint64_t>(status.st_size);
    file.source = std::make_unique<FileSource>(std::move(fd), shown);
    return std::optional(std::move(file));
  }

 private:
  fs::path path_;
  ContainedRoot root_;
};

class ArchiveFiles final : public ImageFiles {
 public:
  ArchiveFiles(std::string path, std::unique_ptr<MemoryFile> content)
      : path_(std::move(path)), content_(std::move(content)) {}

  Status load(ByteSource& source, std::uint64_t bytes_max) {
    TarReader reader(source);
    for (bool first = true;; first = false) {
      const auto entry = reader.next();
      if (!entry.ok() && first) {
        return plain_error(entry.error().code, "{} is no image: neither an OCI archive nor a docker-save tar ({})", path_,
                           entry.error().what);
      }
      if (!entry.ok()) {
        return plain_error(entry.error().code, "{}: {}", path_, entry.error().what);
      }
      if (*entry == nullptr) {
        return {};
      }
      SBENCH_TRY(take(reader, **entry, bytes_max));
    }
  }

  Result<std::optional<ImageFile>> find(const std::string& name) override {
    std::string path = name;
    for (int links = 0; links < kLinksMax; ++links) {
      const auto contained = contained_path(path);
      if (!contained.ok()) {
        return plain_error(EINVAL, "{}: the file name {} leads out of the image", path_, shown(path));
      }
      const auto found = members_.find(*contained);
      if (found == members_.end()) {
        return std::optional<ImageFile>();
      }
      if (found->second.link_target.empty()) {
        return open(found->second);
      }
      path = found->second.link_target.front() == '/' ? found->second.link_target
                                                      : parent_of(*contained) + "/" + found->second.link_target;
    }
    return plain_error(ELOOP, "{}: too many links at {}", path_, shown(name));
  }

 private:
  struct Member {
    std::uint64_t offset = 0;
    std::uint64_t size_bytes = 0;
    std::string link_target;
  };

  Status take(TarReader& reader, const ReadEntry& entry, std::uint64_t bytes_max) {
    const auto name = contained_path(entry.name);
    if (!name.ok()) {
      return plain_error(EINVAL, "{}: the entry {} leads out of the archive", path_, shown(entry.name));
    }
    if (members_.size() >= kFilesMax) {
      return plain_error(EFBIG, "{} holds more than {} files; it is no image", path_, kFilesMax);
    }
    Member member;
    if (entry.hard_link_target.has_value()) {
      const auto target = contained_path(*entry.hard_link_target);
      if (!target.ok()) {
        return plain_error(EINVAL, "{}: the entry {} leads out of the archive", path_, shown(entry.name));
      }
      member.link_target = "/" + *target;
    } else if (S_ISLNK(entry.mode)) {
      member.link_target = entry.link_target;
    } else if (S_ISREG(entry.mode)) {
      member.offset = content_->size_bytes();
      member.size_bytes = entry.size_bytes;
      if (member.offset + member.size_bytes > bytes_max) {
        return plain_error(EFBIG, "{}: its content exceeds the limit of {} at {}", path_,
                           human_size(static_cast<double>(bytes_max)), *name);
      }
      SBENCH_TRY(take_content(reader, entry.size_bytes));
    } else {
      return {};
    }
    members_.insert_or_assign(*name, std::move(member));
    return {};
  }

  Status take_content(TarReader& reader, std::uint64_t size_bytes) {
    std::uint64_t at = 0;
    for (;;) {
      const auto run = reader.next_data();
      if (!run.ok()) {
        return plain_error(run.error().code, "{}: {}", path_, run.error().what);
      }
      if (!run->has_value()) {
        break;
      }
      if ((*run)->offset != at) {
        return plain_error(EINVAL, "{}: sparse files inside an image archive are not read", path_);
      }
      SBENCH_TRY(content_->write((*run)->data));
      at += (*run)->data.size();
    }
    return at == size_bytes ? Status() : Status(plain_error(EINVAL, "{} ends too early", path_));
  }

  Result<std::optional<ImageFile>> open(const Member& member) {
    SBENCH_TRY_SET(const auto all, content_->map());
    ImageFile file;
    file.size_bytes = member.size_bytes;
    file.source = std::make_unique<MemorySource>(all.subspan(member.offset, member.size_bytes));
    return std::optional(std::move(file));
  }

  std::string path_;
  std::unique_ptr<MemoryFile> content_;
  std::map<std::string, Member> members_;
};

}  // namespace

Result<std::unique_ptr<ImageFiles>> ImageFiles::open_directory(const fs::path& path) {
  SBENCH_TRY_SET(ContainedRoot root, ContainedRoot::open(path));
  return std::unique_ptr<ImageFiles>(std::make_unique<DirectoryFiles>(path, std::move(root)));
}

Result<std::unique_ptr<ImageFiles>> ImageFiles::open_archive(const fs::path& path, std::uint64_t bytes_max) {
  SBENCH_TRY_SET(const Compression compression, detect_compression(path));
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY));
  FdSource raw(fd.get(), path.string());
  UnpackingSource source(raw, compression, path.string());
  SBENCH_TRY_SET(auto content, MemoryFile::make("sbench image archive"));
  auto files = std::make_unique<ArchiveFiles>(path.string(), std::move(content));
  SBENCH_TRY(files->load(source, bytes_max));
  return std::unique_ptr<ImageFiles>(std::move(files));
}

Result<Compression> detect_compression(const fs::path& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY));
  std::array<std::byte, 4> start{};
  const ssize_t count = ::pread(fd.get(), start.data(), start.size(), 0);
  if (count < 0) {
    return errno_error("cannot read {}", path.string());
  }
  return compression_of(std::span(start).first(static_cast<std::size_t>(count)));
}

Compression compression_of(std::span<const std::byte> start) {
  constexpr std::array<unsigned char, 2> kGzipMagic = {0x1f, 0x8b};              // RFC 1952, 2.3.1
  constexpr std::array<unsigned char, 4> kZstdMagic = {0x28, 0xb5, 0x2f, 0xfd};  // RFC 8878, 3.1.1
  const auto starts_with = [&](auto magic) {
    return start.size() >= magic.size() && std::memcmp(start.data(), magic.data(), magic.size()) == 0;
  };
  return starts_with(kGzipMagic) ? Compression::gzip : starts_with(kZstdMagic) ? Compression::zstd : Compression::none;
}

}  // namespace sbench
