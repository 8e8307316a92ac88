#include "harness/data_root.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "drivers/base/durable.h"
#include "drivers/base/file.h"
#include "drivers/base/hash.h"
#include "drivers/layer/digest_sink.h"
#include "drivers/layer/tree_walk.h"
#include "harness/environment.h"
#include "harness/layer_store.h"
#include "harness/live_case.h"
#include "images/image.h"
#include "images/manifest.h"
#include "workloads/content/bind_mount.h"
#include "workloads/content/scratch.h"
#include "workloads/dockerfile/build.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kVolumeTarget = "data";

/// "web" for web.Dockerfile, the folder's name for app/Dockerfile.
std::string name_of(const DockerApplication& application) {
  const fs::path file = fs::absolute(application.name);
  std::string name = file.extension() == ".Dockerfile" ? file.stem().string() : file.parent_path().filename().string();
  std::erase_if(name, [](unsigned char c) { return std::isalnum(c) == 0 && c != '-' && c != '_' && c != '.'; });
  return name.empty() ? "app" : name;
}

/// The instructions of `stage` and of the stages it stands on that make a layer, from below.
std::vector<std::string> layer_instructions(const Dockerfile& file, const BuildStage& stage) {
  std::vector<std::string> all;
  if (stage.base_stage >= 0) {
    all = layer_instructions(file, file.stages[static_cast<std::size_t>(stage.base_stage)]);
  }
  for (const auto& instruction : stage.instructions) {
    if (makes_layer(instruction.kind)) {
      all.push_back(instruction.text);
    }
  }
  return all;
}

std::string base_of(const Dockerfile& file, const BuildStage& stage) {
  return stage.base_stage >= 0 ? base_of(file, file.stages[static_cast<std::size_t>(stage.base_stage)]) : stage.base;
}

json command_of(const Instruction& instruction) {
  if (instruction.exec_form) {
    return instruction.words;
  }
  std::vector<std::string> shell = {"/bin/sh", "-c"};
  shell.insert(shell.end(), instruction.words.begin(), instruction.words.end());
  return shell;
}

/// What the image says of how its containers run.
json run_config(const Dockerfile& file, const BuildStage& stage) {
  json config = stage.base_stage >= 0 ? run_config(file, file.stages[static_cast<std::size_t>(stage.base_stage)])
                                      : json::object();
  for (const auto& instruction : stage.instructions) {
    switch (instruction.kind) {
      case InstructionKind::cmd:
        config["Cmd"] = command_of(instruction);
        break;
      case InstructionKind::entrypoint:
        config["Entrypoint"] = command_of(instruction);
        break;
      case InstructionKind::workdir:
        config["WorkingDir"] = instruction.words.front();
        break;
      case InstructionKind::user:
        config["User"] = instruction.words.front();
        break;
      case InstructionKind::env:
        for (const auto& word : instruction.words) {
          config["Env"].push_back(word);
        }
        break;
      case InstructionKind::label:
        for (const auto& word : instruction.words) {
          config["Labels"][word.substr(0, word.find('='))] = word.substr(std::min(word.size(), word.find('=') + 1));
        }
        break;
      default:
        break;
    }
  }
  return config;
}

/// Names a layer with all below it (OCI image-spec, "Layer ChainID"); `below` is the parent's, or empty.
std::string chain_id(const std::string& below, const std::string& diff_id) {
  return below.empty() ? diff_id : "sha256:" + sha256_hex(below + " " + diff_id);
}

/// One driver's part of the data root, being made.
class DriverPart {
 public:
  DriverPart(const fs::path& directory, const PlannedVariant& planned, const Plan& plan, const std::string& scale)
      : directory_(directory), slug_(planned.variant.slug), plan_(plan) {
    params_.set("image", scale);
  }

  Status make(std::uint64_t store_bytes, const Variant& variant) {
    const LayerStore::Place place{directory_ / slug_, {}};
    SBENCH_TRY(LayerStore::format(place, variant, store_bytes));
    SBENCH_TRY_SET(const auto opened, LayerStore::open(place, "", true));
    LiveCase live(opened->store(), params_, plan_.seed, 1, plan_.image.get());
    SBENCH_TRY(live.begin());
    Scratch scratch(live);
    DockerBuilder builder(live, scratch, parse_image_scale(params_.text("image")));
    for (const auto& application : applications()) {
      SBENCH_TRY_SET(const DockerBuild build, builder.build(application, false));
      SBENCH_TRY(keep_image(live, application, build.top));
      SBENCH_TRY(keep_container(live, application, build.top));
    }
    scratch.leave_all();
    SBENCH_TRY(write(image_folder() / "repositories.json", json{{"Repositories", repositories_}}));
    SBENCH_TRY(live.driver().sync());
    for (const auto& [path, config] : containers_) {  // read_data_root() goes by these: what they name is on the disk
      SBENCH_TRY(write(path, config));
    }
    return {};
  }

 private:
  [[nodiscard]] fs::path image_folder() const { return directory_ / "image" / slug_; }

  static Status write_text(const fs::path& path, const std::string& text) {
    SBENCH_TRY(make_durable_directories(path.parent_path()));
    return write_text_atomic(path, text);
  }
  static Status write(const fs::path& path, const json& document) { return write_text(path, document.dump()); }

  Status keep_image(LiveCase& live, const DockerApplication& application, const LayerId& top) {
    SBENCH_TRY_SET(const auto rows, live.driver().list());
    const std::map<LayerId, ParentId> parents(rows.begin(), rows.end());
    std::vector<LayerId> layers;  // from below
    for (ParentId at = top; at; at = parents.at(*at)) {
      layers.insert(layers.begin(), *at);
    }
    const BuildStage& last = application.file.stages.back();
    const auto made = layer_instructions(application.file, last);
    json diff_ids = json::array();
    json history = json::array();
    chain_ = "";
    for (std::size_t i = 0; i < layers.size(); ++i) {
      SBENCH_TRY_SET(const std::string diff_id, keep_layer(live, layers[i], parents.at(layers[i])));
      diff_ids.push_back(diff_id);
      const std::size_t below = layers.size() - std::min(layers.size(), made.size());
      history.push_back({{"created_by", i < below ? "FROM " + base_of(application.file, last) : made[i - below]}});
    }
    const std::string platform = host_platform();
    const json config = {{"architecture", platform.substr(platform.find('/') + 1)},
                         {"os", "linux"},
                         {"config", run_config(application.file, last)},
                         {"rootfs", {{"type", "layers"}, {"diff_ids", diff_ids}}},
                         {"history", history}};
    image_ = "sha256:" + sha256_hex(config.dump());
    const std::string name = name_of(application);
    repositories_[name] = {{name + ":latest", image_}};
    return write(image_folder() / "imagedb/content/sha256" / image_.substr(7), config);
  }

  /// Its diff_id; chain_ becomes its chain id.
  Result<std::string> keep_layer(LiveCase& live, const LayerId& layer, const ParentId& parent) {
    auto known = digests_.find(layer);
    if (known == digests_.end()) {
      DigestSink tar;
      SBENCH_TRY(live.driver().diff(layer, parent, tar));
      known = digests_.emplace(layer, std::pair("sha256:" + tar.sha256(), tar.bytes())).first;
    }
    const auto& [diff_id, bytes] = known->second;
    const std::string below = chain_;
    chain_ = chain_id(below, diff_id);
    const fs::path folder = image_folder() / "layerdb/sha256" / chain_.substr(7);
    SBENCH_TRY(write_text(folder / "diff", diff_id));
    SBENCH_TRY(write_text(folder / "cache-id", layer));
    SBENCH_TRY(write_text(folder / "size", std::to_string(bytes)));
    SBENCH_TRY(below.empty() ? Status() : write_text(folder / "parent", below));
    return diff_id;
  }

  Status keep_container(LiveCase& live, const DockerApplication& application, const LayerId& top) {
    const std::string name = name_of(application);
    const std::string id = sha256_hex(fmt::format("{}/{}/{}", plan_.seed, slug_, name));
    const std::string volume = fmt::format("{}-{}-data", slug_, name);
    const fs::path volume_data = fs::absolute(directory_) / "volumes" / volume / "_data";
    SBENCH_TRY(make_durable_directories(volume_data));
    const LayerId layer = "container-" + id.substr(0, 12);
    SBENCH_TRY(live.driver().prepare(layer, top));
    SBENCH_TRY_SET(Mount mount, live.driver().mount(layer));
    SBENCH_TRY(make_directories(mount.path() / kVolumeTarget));
    SBENCH_TRY(write_to_volume(volume_data, mount.path() / kVolumeTarget));
    SBENCH_TRY(change_files(mount.path(), name));
    SBENCH_TRY(mount.release());
    const fs::path mounts = image_folder() / "layerdb/mounts" / id;
    SBENCH_TRY(write_text(mounts / "mount-id", layer));
    SBENCH_TRY(write_text(mounts / "parent", chain_));
    const std::string target = std::string("/") + kVolumeTarget;
    const json points = {{target,
                          {{"Type", "volume"},
                           {"Name", volume},
                           {"Source", volume_data.string()},
                           {"Destination", target},
                           {"RW", true}}}};
    containers_.emplace_back(directory_ / "containers" / id / "config.v2.json",
                             json{{"ID", id},
                                  {"Name", "/" + name},
                                  {"Created", utc_now()},
                                  {"Driver", slug_},
                                  {"Image", image_},
                                  {"MountPoints", points},
                                  {"State", {{"Running", false}, {"ExitCode", 0}}}});
    return {};
  }

  /// With the volume mounted for real, as the container sees it.
  static Status write_to_volume(const fs::path& data, const fs::path& target) {
    SBENCH_TRY_SET(BindMount bind, BindMount::attach(data, target));
    SBENCH_TRY(write_text_atomic(target / "journal", "kept\n"));
    SBENCH_TRY(bind.detach());
    return fs::exists(data / "journal") && !fs::exists(target / "journal")
               ? Status()
               : Status(plain_error(EIO, "what was written to the volume {} is not in it alone", data.string()));
  }

  /// A few changes of the kinds containers make: to existing files (copied up), a deletion, a new file.
  Status change_files(const fs::path& root, const std::string& name) {
    std::vector<std::string> files;
    SBENCH_TRY(walk_tree(root, [&](const Visited& file) -> Result<WalkStep> {
      if (S_ISREG(file.status.st_mode) && file.status.st_nlink == 1 && file.status.st_size > 0 &&
          file.status.st_size < (1 << 20)) {
        files.push_back(file.path);
      }
      return WalkStep::enter;
    }));
    if (files.size() >= 4) {
      SBENCH_TRY_SET(const Fd appended, open_file(root / files[0], O_WRONLY | O_APPEND));
      SBENCH_TRY(write_all(appended.get(), "changed by the container\n", files[0]));
      if (::chmod((root / files[1]).c_str(), 0600) != 0 || ::unlink((root / files[2]).c_str()) != 0) {
        return errno_error("cannot change {} or delete {} in the container", files[1], files[2]);
      }
    }
    return write_text(root / "var/log" / (name + ".log"), "started\n");
  }

  const fs::path& directory_;
  std::string slug_;
  const Plan& plan_;
  Params params_;
  json repositories_ = json::object();
  std::vector<std::pair<fs::path, json>> containers_;  ///< to be written once what they name is durable
  std::map<LayerId, std::pair<std::string, std::uint64_t>> digests_;
  std::string image_;
  std::string chain_;
};

/// The image's layers from below, and the instruction that made each.
Result<std::vector<std::pair<LayerId, std::string>>> layers_made_by(const fs::path& image_folder,
                                                                    const std::string& image) {
  SBENCH_TRY_SET(const std::string digits, sha256_digits(image, image_folder.string()));
  const fs::path file = image_folder / "imagedb/content/sha256" / digits;
  SBENCH_TRY_SET(const std::string text, read_text(file));
  const json config = json::parse(text);
  std::vector<std::pair<LayerId, std::string>> all;
  std::string chain;
  for (std::size_t i = 0; i < config.at("rootfs").at("diff_ids").size(); ++i) {
    const std::string diff_id = config.at("rootfs").at("diff_ids").at(i);
    SBENCH_TRY(sha256_digits(diff_id, file.string()));
    chain = chain_id(chain, diff_id);
    const fs::path folder = image_folder / "layerdb/sha256" / chain.substr(7);
    all.emplace_back(read_trimmed(folder / "cache-id"), config.at("history").at(i).at("created_by"));
  }
  return all;
}

Result<KeptContainer> read_container(const fs::path& directory, const fs::path& file) {
  SBENCH_TRY_SET(const std::string text, read_text(file));
  const json config = json::parse(text);
  KeptContainer container;
  container.id = config.at("ID");
  container.name = config.at("Name");
  container.name.erase(0, 1);  // Docker's slash
  container.driver = config.at("Driver");
  for (const auto& name : {container.id, container.driver}) {  // parts of paths below
    if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos) {
      return plain_error(EINVAL, "{}: '{}' is no name of a container or driver", file.string(), name);
    }
  }
  const fs::path images = directory / "image" / container.driver;
  container.layer = read_trimmed(images / "layerdb/mounts" / container.id / "mount-id");
  for (const auto& [target, point] : config.at("MountPoints").items()) {
    container.volumes.emplace_back(target, point.at("Name"));
  }
  SBENCH_TRY_SET(container.made_by, layers_made_by(images, config.at("Image")));
  return container;
}

}  // namespace

Status make_data_root(const fs::path& directory, const Plan& plan, const std::string& scale, std::uint64_t store_bytes,
                      const std::function<void(const std::string&)>& say) {
  std::error_code ignored;
  if (fs::exists(directory, ignored) && !fs::is_empty(directory, ignored)) {
    return plain_error(EEXIST, "{} is not empty; name another --keep", directory.string());
  }
  Status first;
  for (const auto& planned : plan.variants) {
    if (!planned.requested || !planned.variant.spec->capabilities.stores_layers) {
      continue;
    }
    const Status made = DriverPart(directory, planned, plan, scale).make(store_bytes, planned.variant);
    say(made.ok() ? fmt::format("kept {} in {}", planned.variant.label, (directory / planned.variant.slug).string())
                  : fmt::format("FAILED to keep {}: {}", planned.variant.label, made.error().what));
    first = first.ok() ? made : first;
  }
  return first;
}

Result<std::vector<KeptContainer>> read_data_root(const fs::path& directory) {
  std::vector<KeptContainer> all;
  std::error_code error;
  fs::directory_iterator folders(directory / "containers", error);
  if (error) {
    return plain_error(error.value(), "{} is no data root of sbench run --keep: it has no containers",
                       directory.string());
  }
  for (const auto& folder : folders) {
    const fs::path file = folder.path() / "config.v2.json";
    try {
      SBENCH_TRY_SET(auto container, read_container(directory, file));
      all.push_back(std::move(container));
    } catch (const json::exception& wrong) {
      return plain_error(EINVAL, "{}: {}", file.string(), wrong.what());
    }
  }
  std::sort(all.begin(), all.end(),
            [](const auto& a, const auto& b) { return std::tie(a.driver, a.name) < std::tie(b.driver, b.name); });
  return all;
}

}  // namespace sbench
