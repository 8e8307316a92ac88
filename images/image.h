// image.h: a container image as it lies on disk, read into memory and checked.
//
// What can be read: an OCI image layout (a directory, or a tar of one), the tar
// that `docker save` writes, a directory of this machine (`host:PATH`: packed as
// one base layer), a bare layer tar (`tar:FILE`). Layers may be gzip or zstd.
// Nothing of an image is unpacked on this machine's own file systems: names inside
// archives are looked up, never created, and links lead nowhere outside.
// Every digest and size the image states is checked. Knows nothing of drivers.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "drivers/base/result.h"
#include "drivers/base/units.h"
#include "drivers/layer/compression.h"
#include "drivers/layer/memory_file.h"

namespace sbench {

struct StoredLayer {
  std::string digest;   ///< "sha256:…" of the blob as stored; empty where the source states none
  std::string diff_id;  ///< "sha256:…" of the uncompressed tar
  Compression compression = Compression::none;
  std::uint64_t bytes_stored = 0;
  std::shared_ptr<MemoryFile> tar;  ///< uncompressed; the same object for layers that repeat
};

struct Image {
  std::string source;     ///< as the user named it
  std::string kind;       ///< "oci-layout", "oci-archive", "docker-save", "host", "tar"
  std::string name;       ///< its tag, or the last part of the source
  std::string platform;   ///< "linux/amd64"; empty where the image does not say
  std::string digest;     ///< of its manifest; of its only layer for host: and tar:
  std::vector<std::string> instructions;  ///< created_by of its history, oldest first
  std::vector<StoredLayer> layers;        ///< lowest first

  [[nodiscard]] std::uint64_t tar_bytes() const;
};

struct ImageLimits {
  std::uint64_t layer_bytes_max = 8 * kGiB;   ///< of one uncompressed layer
  std::uint64_t image_bytes_max = 16 * kGiB;  ///< of all of them
  unsigned memory_parts = 2;  ///< image_bytes_max and layer_bytes_max are lowered to the free memory over this
  std::uint64_t document_bytes_max = 8 * kMiB;  ///< of a manifest, an index, a configuration
  std::size_t layers_max = 1000;
};

struct ImageRequest {
  std::string source;    ///< FILE, FILE#TAG, host:PATH or tar:FILE
  std::string platform;  ///< "os/architecture[/variant]"; empty: this machine's
  ImageLimits limits;
};

/// Reads and checks an image. The Error is one line that names the file and, where one is at
/// fault, the layer by number and digest. Throws UsageError for a malformed platform.
[[nodiscard]] Result<Image> load_image(const ImageRequest& request);

/// "linux/amd64" on x86-64.
[[nodiscard]] std::string host_platform();

}  // namespace sbench
