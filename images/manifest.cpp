#include "images/manifest.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "images/whole_number.h"

namespace sbench {
namespace {

using nlohmann::json;

/// Runs `read`, which may throw what nlohmann/json throws.
template <typename Read>
auto guarded(const std::string& shown, Read&& read) -> Result<decltype(read())> {
  try {
    return read();
  } catch (const json::parse_error& error) {
    return plain_error(EINVAL, "{} is not valid JSON (byte {})", shown, error.byte);
  } catch (const json::exception& error) {
    return plain_error(EINVAL, "{} is not what it should be: {}", shown, error.what());
  }
}

std::string text_of(const json& value, const char* key) {
  const auto found = value.find(key);
  return found != value.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string platform_of(const json& value) {
  std::string platform = text_of(value, "os") + "/" + text_of(value, "architecture");
  if (platform == "/") {
    return {};
  }
  const std::string variant = text_of(value, "variant");
  return variant.empty() ? platform : platform + "/" + variant;
}

Descriptor descriptor(const json& value) {
  Descriptor made;
  value.at("digest").get_to(made.digest);
  made.size_bytes = whole_number(value.at("size"), "a blob's size");
  made.media_type = text_of(value, "mediaType");
  if (const auto platform = value.find("platform"); platform != value.end()) {
    made.platform = platform_of(*platform);
  }
  if (const auto notes = value.find("annotations"); notes != value.end() && notes->is_object()) {
    made.tag = text_of(*notes, "org.opencontainers.image.ref.name");
  }
  return made;
}

std::vector<Descriptor> descriptors(const json& values) {
  std::vector<Descriptor> made;
  for (const auto& value : values) {
    made.push_back(descriptor(value));
  }
  return made;
}

}  // namespace

Result<ManifestDocument> parse_manifest(const std::string& text, const std::string& shown) {
  return guarded(shown, [&] {
    const json value = json::parse(text);
    ManifestDocument document;
    document.is_index = value.contains("manifests");
    if (document.is_index) {
      document.manifests = descriptors(value.at("manifests"));
    } else {
      document.config = descriptor(value.at("config"));
      document.layers = descriptors(value.at("layers"));
    }
    return document;
  });
}

Result<ConfigDocument> parse_config(const std::string& text, const std::string& shown) {
  return guarded(shown, [&] {
    const json value = json::parse(text);
    ConfigDocument document;
    document.platform = platform_of(value);
    value.at("rootfs").at("diff_ids").get_to(document.diff_ids);
    if (const auto history = value.find("history"); history != value.end() && history->is_array()) {
      for (const auto& entry : *history) {
        document.instructions.push_back(text_of(entry, "created_by"));
      }
    }
    return document;
  });
}

Result<std::vector<SavedImage>> parse_saved(const std::string& text, const std::string& shown) {
  return guarded(shown, [&] {
    std::vector<SavedImage> images;
    for (const auto& value : json::parse(text)) {
      SavedImage image;
      value.at("Config").get_to(image.config);
      value.at("Layers").get_to(image.layers);
      if (const auto tags = value.find("RepoTags"); tags != value.end() && tags->is_array()) {
        tags->get_to(image.tags);
      }
      images.push_back(std::move(image));
    }
    return images;
  });
}

Result<std::string> sha256_digits(const std::string& digest, const std::string& shown) {
  constexpr std::string_view kPrefix = "sha256:";
  const auto is_digit = [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); };
  std::string digits = digest.starts_with(kPrefix) ? digest.substr(kPrefix.size()) : std::string();
  if (digits.size() != 64 || !std::all_of(digits.begin(), digits.end(), is_digit)) {
    return plain_error(EINVAL, "{}: the digest '{}' is not sha256: and 64 hexadecimal digits", shown,
                       digest.substr(0, 128));
  }
  return digits;
}

}  // namespace sbench
