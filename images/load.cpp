#include <fcntl.h>
#include <sys/utsname.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/base/usage_error.h"
#include "drivers/layer/contained.h"
#include "drivers/layer/naive_diff.h"
#include "images/image.h"
#include "images/image_files.h"
#include "images/manifest.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr int kIndexDepthMax = 4;

std::uint64_t free_memory_bytes() {
  std::ifstream facts("/proc/meminfo");
  std::string name;
  std::uint64_t kib = 0;
  std::string rest;
  while (facts >> name >> kib && std::getline(facts, rest)) {
    if (name == "MemAvailable:") {
      return kib * kKiB;
    }
  }
  return 0;
}

std::uint64_t image_limit(const ImageLimits& limits) {
  return std::min(limits.image_bytes_max, free_memory_bytes() / limits.memory_parts);
}

/// Passes bytes on and computes their SHA-256.
class HashingSource final : public ByteSource {
 public:
  explicit HashingSource(ByteSource& source) : source_(source) {}
  Result<std::size_t> read(std::span<std::byte> buffer) override {
    SBENCH_TRY_SET(const std::size_t count, source_.read(buffer));
    hash_.update(buffer.first(count));
    bytes_ += count;
    return count;
  }
  /// Reads what nobody asked for, so that the digest covers the whole blob.
  Status drain() {
    CountingSink nowhere;
    const auto rest = copy_stream(*this, nowhere, UINT64_MAX, "the blob");
    return rest.ok() ? Status() : Status(rest.error());
  }
  [[nodiscard]] std::string digest() { return "sha256:" + hash_.finish(); }
  [[nodiscard]] std::uint64_t bytes() const { return bytes_; }

 private:
  ByteSource& source_;
  Sha256 hash_;
  std::uint64_t bytes_ = 0;
};

Result<Compression> layer_compression(const std::string& media_type, const std::string& shown) {
  static const std::map<std::string, Compression> known = {
      {"application/vnd.oci.image.layer.v1.tar", Compression::none},
      {"application/vnd.oci.image.layer.v1.tar+gzip", Compression::gzip},
      {"application/vnd.oci.image.layer.v1.tar+zstd", Compression::zstd},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar", Compression::none},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip", Compression::gzip},
      {"application/vnd.oci.image.layer.nondistributable.v1.tar+zstd", Compression::zstd},
      {"application/vnd.docker.image.rootfs.diff.tar", Compression::none},
      {"application/vnd.docker.image.rootfs.diff.tar.gzip", Compression::gzip},
      {"application/vnd.docker.image.rootfs.diff.tar.zstd", Compression::zstd},
      {"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", Compression::gzip},
  };
  const auto found = known.find(media_type);
  if (found == known.end()) {
    return plain_error(EINVAL, "{}: the media type '{}' is unknown; layers are tar, tar+gzip or tar+zstd", shown,
                       media_type.substr(0, 128));
  }
  return found->second;
}

/// Reads one image out of its files.
class ImageReader {
 public:
  ImageReader(const ImageRequest& request, std::string file, std::string tag, ImageFiles& files)
      : request_(request), file_(std::move(file)), tag_(std::move(tag)), files_(files) {
    image_.source = request.source;
    limit_ = image_limit(request.limits);
  }

  Result<Image> read_oci() {
    SBENCH_TRY_SET(const std::string text, document("index.json"));
    SBENCH_TRY_SET(ManifestDocument manifest, parse_manifest(text, shown("index.json")));
    image_.digest = "sha256:" + sha256_hex(text);
    for (int depth = 0; manifest.is_index; ++depth) {
      if (depth == kIndexDepthMax) {
        return plain_error(EINVAL, "{}: indexes nested deeper than {}", file_, kIndexDepthMax);
      }
      SBENCH_TRY_SET(const Descriptor chosen, choose(manifest.manifests));
      if (image_.name.empty()) {
        image_.name = chosen.tag;
      }
      SBENCH_TRY_SET(const std::string next, blob_text(chosen));
      image_.digest = chosen.digest;
      SBENCH_TRY_SET(manifest, parse_manifest(next, shown("manifest " + chosen.digest)));
    }
    SBENCH_TRY_SET(const std::string text_config, blob_text(manifest.config));
    SBENCH_TRY_SET(const ConfigDocument config, parse_config(text_config, shown("configuration")));
    SBENCH_TRY(take_config(config, manifest.layers.size()));
    for (std::size_t i = 0; i < manifest.layers.size(); ++i) {
      const Descriptor& layer = manifest.layers[i];
      const std::string name = shown(fmt::format("layer {} of {} ({})", i + 1, manifest.layers.size(), layer.digest));
      SBENCH_TRY_SET(const Compression compression, layer_compression(layer.media_type, name));
      SBENCH_TRY_SET(const std::string digits, sha256_digits(layer.digest, name));
      SBENCH_TRY(add_layer("blobs/sha256/" + digits, compression, layer, config.diff_ids[i], name));
    }
    return std::move(image_);
  }

  Result<Image> read_saved() {
    SBENCH_TRY_SET(const std::string text, document("manifest.json"));
    SBENCH_TRY_SET(const auto saved, parse_saved(text, shown("manifest.json")));
    SBENCH_TRY_SET(const SavedImage chosen, choose_saved(saved));
    image_.name = chosen.tags.empty() ? "" : chosen.tags.front();
    SBENCH_TRY_SET(const std::string text_config, document(chosen.config));
    // Docker calls the file by its digest.
    const std::string digits = chosen.config.substr(0, chosen.config.find(".json"));
    image_.digest = "sha256:" + sha256_hex(text_config);
    if (sha256_digits("sha256:" + digits, "").ok() && image_.digest != "sha256:" + digits) {
      return plain_error(EBADMSG, "{}: its digest is {}, not what its name says", shown(chosen.config), image_.digest);
    }
    SBENCH_TRY_SET(const ConfigDocument config, parse_config(text_config, shown(chosen.config)));
    SBENCH_TRY(take_config(config, chosen.layers.size()));
    for (std::size_t i = 0; i < chosen.layers.size(); ++i) {
      const std::string name = shown(fmt::format("layer {} of {} ({})", i + 1, chosen.layers.size(),
                                                 chosen.layers[i].substr(0, 128)));
      SBENCH_TRY(add_layer(chosen.layers[i], std::nullopt, {}, config.diff_ids[i], name));
    }
    return std::move(image_);
  }

 private:
  [[nodiscard]] std::string shown(const std::string& part) const { return file_ + ": " + part; }

  Result<ImageFile> open(const std::string& name) {
    SBENCH_TRY_SET(auto file, files_.find(name));
    if (!file.has_value()) {
      return plain_error(ENOENT, "{} is missing", shown(name.substr(0, 256)));
    }
    return std::move(*file);
  }

  Result<std::string> document(const std::string& name) {
    SBENCH_TRY_SET(ImageFile file, open(name));
    MemorySink text;
    SBENCH_TRY(as_status(copy_stream(*file.source, text, request_.limits.document_bytes_max, shown(name))));
    return text.data();
  }

  /// A blob that is a document, with its size and digest checked.
  Result<std::string> blob_text(const Descriptor& blob) {
    SBENCH_TRY_SET(const std::string digits, sha256_digits(blob.digest, file_));
    SBENCH_TRY_SET(std::string text, document("blobs/sha256/" + digits));
    SBENCH_TRY(check_blob(blob, text.size(), "sha256:" + sha256_hex(text), shown(blob.digest)));
    return text;
  }

  static Status check_blob(const Descriptor& stated, std::uint64_t size_bytes, const std::string& digest,
                           const std::string& name) {
    if (size_bytes != stated.size_bytes) {
      return plain_error(EBADMSG, "{} holds {} bytes, the manifest says {}", name, size_bytes, stated.size_bytes);
    }
    if (digest != stated.digest) {
      return plain_error(EBADMSG, "{}: wrong digest, its content has {}", name, digest);
    }
    return {};
  }

  template <typename T>
  static Status as_status(const Result<T>& result) {
    return result.ok() ? Status() : Status(result.error());
  }

  Status take_config(const ConfigDocument& config, std::size_t layers) {
    if (layers == 0) {
      return plain_error(EINVAL, "{}: the image has no layers", file_);
    }
    if (layers > request_.limits.layers_max) {
      return plain_error(EFBIG, "{}: {} layers are more than the limit of {}", file_, layers,
                         request_.limits.layers_max);
    }
    if (config.diff_ids.size() != layers) {
      return plain_error(EINVAL, "{}: {} layers, but {} diff_ids in the configuration", file_, layers,
                         config.diff_ids.size());
    }
    image_.platform = config.platform;
    image_.instructions = config.instructions;
    return {};
  }

  /// Unpacks a blob into memory and checks its digests. `compression` nothing: look at the blob.
  Status add_layer(const std::string& name_in_image, std::optional<Compression> compression, const Descriptor& stated,
                   const std::string& diff_id, const std::string& name) {
    const auto same = std::find_if(image_.layers.begin(), image_.layers.end(),
                                   [&](const StoredLayer& layer) { return layer.diff_id == diff_id; });
    if (same != image_.layers.end() && (stated.digest.empty() || stated.digest == same->digest)) {
      image_.layers.push_back(StoredLayer(*same));
      return {};
    }
    SBENCH_TRY(as_status(sha256_digits(diff_id, name)));
    if (!compression.has_value()) {
      SBENCH_TRY_SET(compression, sniff(name_in_image));
    }
    SBENCH_TRY_SET(ImageFile file, open(name_in_image));
    if (!stated.digest.empty() && file.size_bytes != stated.size_bytes) {
      return plain_error(EBADMSG, "{} holds {} bytes, the manifest says {}", name, file.size_bytes, stated.size_bytes);
    }
    HashingSource stored(*file.source);
    UnpackingSource unpacked(stored, *compression, name);
    HashingSource tar(unpacked);
    StoredLayer layer;
    SBENCH_TRY_SET(auto memory, MemoryFile::make("sbench image layer"));
    const std::uint64_t left = limit_ - std::min(limit_, image_.tar_bytes());
    const auto copied = copy_stream(tar, *memory, std::min(request_.limits.layer_bytes_max, left), name + " unpacked");
    if (!copied.ok()) {
      return copied.error();
    }
    SBENCH_TRY(stored.drain());
    layer.digest = stored.digest();
    layer.diff_id = tar.digest();
    layer.compression = *compression;
    layer.bytes_stored = stored.bytes();
    layer.tar = std::move(memory);
    if (!stated.digest.empty()) {
      SBENCH_TRY(check_blob(stated, layer.bytes_stored, layer.digest, name));
    }
    if (layer.diff_id != diff_id) {
      return plain_error(EBADMSG, "{}: wrong diff_id: unpacked it is {}, the configuration says {}", name,
                         layer.diff_id, diff_id.substr(0, 128));
    }
    image_.layers.push_back(std::move(layer));
    return {};
  }

  Result<Compression> sniff(const std::string& name_in_image) {
    SBENCH_TRY_SET(ImageFile file, open(name_in_image));
    std::vector<std::byte> start(4);
    SBENCH_TRY_SET(const std::size_t count, file.source->read(start));
    return compression_of(std::span(start).first(count));
  }

  Result<Descriptor> choose(const std::vector<Descriptor>& all) const {
    std::vector<Descriptor> left = all;
    if (!tag_.empty() && std::any_of(left.begin(), left.end(), [](const auto& d) { return !d.tag.empty(); })) {
      std::erase_if(left, [&](const Descriptor& d) { return d.tag != tag_; });
      if (left.empty()) {
        return plain_error(ENOENT, "{} holds no image tagged {}; it holds: {}", file_, tag_, listed(all));
      }
    }
    const std::string wanted = request_.platform.empty() ? host_platform() : request_.platform;
    const auto fits = [&](const Descriptor& d) {
      return d.platform.empty() || d.platform == wanted || d.platform.starts_with(wanted + "/");
    };
    std::erase_if(left, [&](const Descriptor& d) { return !fits(d); });
    if (left.empty()) {
      return plain_error(ENOENT, "{} holds nothing for {}; it holds: {}; name another with --platform", file_, wanted,
                         listed(all));
    }
    if (left.size() > 1 && left[0].platform.empty()) {
      return plain_error(EINVAL, "{} holds several images; name one as {}#TAG: {}", file_, file_, listed(left));
    }
    return left.front();
  }

  static std::string listed(const std::vector<Descriptor>& all) {
    std::string text;
    for (std::size_t i = 0; i < std::min<std::size_t>(all.size(), 10); ++i) {
      std::string words = all[i].tag.empty() ? all[i].digest.substr(0, 19) : all[i].tag;
      words += all[i].platform.empty() ? "" : " for " + all[i].platform;
      text += (i > 0 ? ", " : "") + words;
    }
    return text.empty() ? "nothing" : text;
  }

  Result<SavedImage> choose_saved(const std::vector<SavedImage>& saved) const {
    std::string tags;
    for (const auto& image : saved) {
      for (const auto& tag : image.tags) {
        if (tag == tag_ || (!tag_.empty() && tag.ends_with(":" + tag_))) {
          return image;
        }
        tags += (tags.empty() ? "" : ", ") + tag;
      }
    }
    if (saved.size() == 1 && tag_.empty()) {
      return saved.front();
    }
    return saved.empty() ? plain_error(EINVAL, "{} holds no image", file_)
                         : plain_error(EINVAL, "{} holds {} images; name one as {}#TAG: {}", file_, saved.size(), file_,
                                       tags);
  }

  const ImageRequest& request_;
  std::string file_;
  std::string tag_;
  ImageFiles& files_;
  std::uint64_t limit_ = 0;
  Image image_;
};

Result<Image> single_layer(const ImageRequest& request, const std::string& kind, const fs::path& path,
                           std::unique_ptr<MemoryFile> tar, Compression compression, std::uint64_t bytes_stored) {
  SBENCH_TRY_SET(const auto bytes, tar->map());
  Sha256 hash;
  hash.update(bytes);
  Image image;
  image.source = request.source;
  image.kind = kind;
  image.name = path.filename().empty() ? path.parent_path().filename().string() : path.filename().string();
  image.platform = host_platform();
  StoredLayer layer;
  layer.diff_id = "sha256:" + hash.finish();
  layer.compression = compression;
  layer.bytes_stored = bytes_stored;
  layer.tar = std::move(tar);
  image.digest = layer.diff_id;
  image.layers.push_back(std::move(layer));
  return image;
}

/// Refuses what does not fit while it is being made.
class LimitedSink final : public ByteSink {
 public:
  LimitedSink(ByteSink& sink, std::uint64_t bytes_max, std::string shown)
      : sink_(sink), left_(bytes_max), shown_(std::move(shown)) {}
  Status write(std::span<const std::byte> data) override {
    if (data.size() > left_) {
      return plain_error(EFBIG, "{} is larger than the limit", shown_);
    }
    left_ -= data.size();
    return sink_.write(data);
  }

 private:
  ByteSink& sink_;
  std::uint64_t left_;
  std::string shown_;
};

std::uint64_t single_limit(const ImageLimits& limits) {
  return std::min(limits.layer_bytes_max, image_limit(limits));
}

Result<Image> load_host(const ImageRequest& request, const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return plain_error(ENOTDIR, "{} is no directory", path.string());
  }
  SBENCH_TRY_SET(auto tar, MemoryFile::make("sbench host layer"));
  SBENCH_TRY_SET(const auto changes, naive_changes(std::nullopt, path));
  LimitedSink limited(*tar, single_limit(request.limits), path.string());
  SBENCH_TRY(write_changes(changes, path, limited));
  const std::uint64_t bytes = tar->size_bytes();
  return single_layer(request, "host", path, std::move(tar), Compression::none, bytes);
}

Result<Image> load_tar(const ImageRequest& request, const fs::path& path) {
  SBENCH_TRY_SET(const Compression compression, detect_compression(path));
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_RDONLY));
  FdSource raw(fd.get(), path.string());
  UnpackingSource source(raw, compression, path.string());
  SBENCH_TRY_SET(auto tar, MemoryFile::make("sbench layer tar"));
  SBENCH_TRY_SET([[maybe_unused]] const auto bytes,
                 copy_stream(source, *tar, single_limit(request.limits), path.string()));
  std::error_code error;
  return single_layer(request, "tar", path, std::move(tar), compression, fs::file_size(path, error));
}

void check_platform(const std::string& platform) {
  if (!platform.empty() && (platform.find('/') == std::string::npos || platform.front() == '/' ||
                            platform.back() == '/')) {
    throw UsageError("--platform '{}' is not os/architecture, for example linux/arm64", platform);
  }
}

}  // namespace

std::uint64_t Image::tar_bytes() const {
  std::uint64_t total = 0;
  for (const auto& layer : layers) {
    total += layer.tar->size_bytes();
  }
  return total;
}

std::string host_platform() {
  static const std::map<std::string, std::string> names = {{"x86_64", "amd64"}, {"aarch64", "arm64"},
                                                           {"i686", "386"},     {"armv7l", "arm/v7"},
                                                           {"ppc64le", "ppc64le"}, {"s390x", "s390x"}};
  utsname facts{};
  ::uname(&facts);
  const auto found = names.find(facts.machine);
  return "linux/" + (found == names.end() ? std::string(facts.machine) : found->second);
}

Result<Image> load_image(const ImageRequest& request) {
  check_platform(request.platform);
  if (request.source.starts_with("host:")) {
    return load_host(request, request.source.substr(5));
  }
  if (request.source.starts_with("tar:")) {
    return load_tar(request, request.source.substr(4));
  }
  std::string file = request.source;
  std::string tag;
  std::error_code error;
  if (const auto hash = file.rfind('#'); hash != std::string::npos && !fs::exists(file, error)) {
    tag = file.substr(hash + 1);
    file.resize(hash);
  }
  if (!fs::exists(file, error)) {
    return plain_error(ENOENT, "there is no image {}", file);
  }
  const bool directory = fs::is_directory(file, error);
  const std::uint64_t limit = image_limit(request.limits);
  SBENCH_TRY_SET(const auto files, directory ? ImageFiles::open_directory(file) : ImageFiles::open_archive(file, limit));
  ImageReader reader(request, file, tag, *files);
  SBENCH_TRY_SET(const auto index, files->find("index.json"));
  SBENCH_TRY_SET(const auto saved, files->find("manifest.json"));
  if (!index.has_value() && !saved.has_value()) {
    return plain_error(EINVAL, "{} is no image: it has neither index.json (OCI) nor manifest.json (docker save){}",
                       file, directory ? fmt::format("; a root file system is named host:{}", file)
                                       : fmt::format("; a bare layer tar is named tar:{}", file));
  }
  SBENCH_TRY_SET(Image image, index.has_value() ? reader.read_oci() : reader.read_saved());
  image.kind = !index.has_value() ? "docker-save" : directory ? "oci-layout" : "oci-archive";
  if (image.name.empty()) {
    image.name = fs::path(file).stem().string();
  }
  return image;
}

}  // namespace sbench
