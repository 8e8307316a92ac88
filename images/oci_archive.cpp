#include "images/oci_archive.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <set>

#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/layer/tar_writer.h"
#include "images/image.h"

namespace sbench {
namespace {

using nlohmann::json;

constexpr std::size_t kPieceBytes = 1 << 20;

std::string digest_of(std::span<const std::byte> data) {
  Sha256 hash;
  hash.update(data);
  return "sha256:" + hash.finish();
}

const char* layer_media_type(Compression compression) {
  switch (compression) {
    case Compression::none:
      return "application/vnd.oci.image.layer.v1.tar";
    case Compression::gzip:
      return "application/vnd.oci.image.layer.v1.tar+gzip";
    case Compression::zstd:
      return "application/vnd.oci.image.layer.v1.tar+zstd";
  }
  return "";
}

/// Collects the members and the descriptors that point at them.
class Layout {
 public:
  Status add_text(const std::string& name, const std::string& text) {
    SBENCH_TRY_SET(std::shared_ptr<MemoryFile> file, MemoryFile::make("sbench image document"));
    SBENCH_TRY(file->write(std::as_bytes(std::span(text.data(), text.size()))));
    members_.push_back({name, std::move(file)});
    return {};
  }

  Result<json> add_document(const char* media_type, const json& document) {
    const std::string text = document.dump();
    const std::string digits = sha256_hex(text);
    SBENCH_TRY(add_text("blobs/sha256/" + digits, text));
    return json{{"mediaType", media_type}, {"digest", "sha256:" + digits}, {"size", text.size()}};
  }

  Result<json> add_layer(std::span<const std::byte> tar, Compression compression) {
    SBENCH_TRY_SET(std::shared_ptr<MemoryFile> file, MemoryFile::make("sbench image layer"));
    PackingSink packed(*file, compression);
    for (std::size_t at = 0; at < tar.size(); at += kPieceBytes) {
      SBENCH_TRY(packed.write(tar.subspan(at, std::min(kPieceBytes, tar.size() - at))));
    }
    SBENCH_TRY(packed.finish());
    SBENCH_TRY_SET(const auto stored, file->map());
    const std::string digest = digest_of(stored);
    json made = {{"mediaType", layer_media_type(compression)}, {"digest", digest}, {"size", stored.size()}};
    if (known_.insert(digest).second) {
      members_.push_back({"blobs/sha256/" + digest.substr(7), std::move(file)});
    }
    return made;
  }

  std::vector<ArchiveMember> take() { return std::move(members_); }

 private:
  std::vector<ArchiveMember> members_;
  std::set<std::string> known_;
};

}  // namespace

Result<std::vector<ArchiveMember>> oci_members(const NewImage& image) {
  const std::string platform = image.platform.empty() ? host_platform() : image.platform;
  const auto slash = platform.find('/');
  const json platform_json = {{"os", platform.substr(0, slash)}, {"architecture", platform.substr(slash + 1)}};
  Layout layout;
  SBENCH_TRY(layout.add_text("oci-layout", R"({"imageLayoutVersion":"1.0.0"})"));
  json config = platform_json;
  config["rootfs"] = {{"type", "layers"}, {"diff_ids", json::array()}};
  config["history"] = json::array();
  json layers = json::array();
  for (std::size_t i = 0; i < image.layers.size(); ++i) {
    SBENCH_TRY_SET(json layer, layout.add_layer(image.layers[i], image.compression));
    layers.push_back(std::move(layer));
    config["rootfs"]["diff_ids"].push_back(digest_of(image.layers[i]));
    config["history"].push_back({{"created_by", i < image.instructions.size() ? image.instructions[i] : "sbench"}});
  }
  SBENCH_TRY_SET(const json config_blob, layout.add_document("application/vnd.oci.image.config.v1+json", config));
  const char* const manifest_type = "application/vnd.oci.image.manifest.v1+json";
  SBENCH_TRY_SET(json manifest, layout.add_document(manifest_type, {{"schemaVersion", 2},
                                                                    {"mediaType", manifest_type},
                                                                    {"config", config_blob},
                                                                    {"layers", layers}}));
  manifest["platform"] = platform_json;
  manifest["annotations"] = {{"org.opencontainers.image.ref.name", image.tag}};
  const json index = {{"schemaVersion", 2},
                      {"mediaType", "application/vnd.oci.image.index.v1+json"},
                      {"manifests", json::array({manifest})}};
  SBENCH_TRY(layout.add_text("index.json", index.dump()));
  return layout.take();
}

Status write_archive(const std::vector<ArchiveMember>& members, const std::filesystem::path& path) {
  SBENCH_TRY_SET(const Fd fd, open_file(path, O_WRONLY | O_CREAT | O_TRUNC));
  FdSink sink(fd.get(), path.string());
  TarWriter writer(sink);
  for (const auto& member : members) {
    SBENCH_TRY_SET(const auto content, member.content->map());
    TarEntry entry;
    entry.path = member.name;
    entry.mode = S_IFREG | 0644;
    entry.size_bytes = content.size();
    SBENCH_TRY(writer.add(entry));
    SBENCH_TRY(writer.write_data(content));
  }
  return writer.finish();
}

}  // namespace sbench
