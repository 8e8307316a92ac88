// JSON that sbench's C++ side reads: image documents, profiles, interrupted runs, kept data roots, guests' jobs.
// Input: a letter that says what, and the text.
#include "harness/data_root.h"
#include "harness/guest/guest_job.h"
#include "harness/recorder.h"
#include "images/manifest.h"
#include "images/profile.h"
#include "tests/fuzz/scratch.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

namespace fs = std::filesystem;

void resume(const std::string& text) {
  static const fs::path folder = [] {
    fs::create_directories(scratch_folder() / "run");
    return scratch_folder() / "run";
  }();
  put_file(folder / "run.jsonl", text);
  const auto recorder = Recorder::resume(folder);
  if (recorder.ok()) {
    static_cast<void>((*recorder)->has_sample("a", 1));
  }
}

/// Container, image and layer documents of a kept data root, a line "%%" between the first two.
void read_kept(const std::string& text) {
  static const fs::path folder = [] {
    fs::create_directories(scratch_folder() / "root/containers/c");
    fs::create_directories(scratch_folder() / "root/image/vfs/imagedb/content/sha256");
    return scratch_folder() / "root";
  }();
  const auto end = std::min(text.find("\n%%\n"), text.size());
  put_file(folder / "containers/c/config.v2.json", text.substr(0, end));
  put_file(folder / "image/vfs/imagedb/content/sha256" / std::string(64, 'a'), text.substr(std::min(end + 4, text.size())));
  static_cast<void>(read_data_root(folder));
}

void run(Bytes input) {
  if (input.empty()) {
    return;
  }
  const std::string text = text_of(input.subspan(1));
  switch (input.front()) {
    case 'm':
      static_cast<void>(parse_manifest(text, "m"));
      break;
    case 'c':
      static_cast<void>(parse_config(text, "c"));
      break;
    case 's':
      static_cast<void>(parse_saved(text, "s"));
      break;
    case 'p':
      if (const auto profile = parse_profile_text(text, "p"); profile.ok()) {
        const auto again = parse_profile_text(profile_text(*profile), "again");
        require(again.ok(), "a profile cannot be read again once it is written");
      }
      break;
    case 'r':
      resume(text);
      break;
    case 'k':
      read_kept(text);
      break;
    case 'j':
      put_file(scratch_folder() / "job.json", text);
      static_cast<void>(read_job(scratch_folder()));
      break;
    default:
      break;
  }
}

std::vector<std::string> seeds() {
  const std::string digest = "\"sha256:" + std::string(64, 'a') + "\"";
  return {
      "m{\"manifests\":[{\"mediaType\":\"x\",\"digest\":" + digest + ",\"size\":7,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm\",\"variant\":\"v7\"},\"annotations\":{\"org.opencontainers.image.ref.name\":\"t\"}}]}",
      "m{\"config\":{\"digest\":" + digest + ",\"size\":1},\"layers\":[{\"mediaType\":\"y\",\"digest\":" + digest + ",\"size\":2}]}",
      "c{\"os\":\"linux\",\"architecture\":\"amd64\",\"rootfs\":{\"diff_ids\":[" + digest + "]},\"history\":[{\"created_by\":\"RUN x\"}]}",
      "s[{\"Config\":\"a.json\",\"RepoTags\":[\"a:b\"],\"Layers\":[\"l/layer.tar\"]}]",
      "p{\"schema\":\"sbench.profile\",\"version\":1,\"name\":\"n\",\"made_from\":\"tar\",\"layers\":[[{\"folder\":\"usr\",\"sizes\":[[3,1,5]],\"folders\":[1],\"files\":[1],\"symlinks\":0,\"hard_links\":0,\"duplicates\":0,\"replaced\":0,\"deletions\":0,\"packs\":50,\"modes\":{\"0644\":1},\"owners\":{\"0:0\":1}}]]}",
      "r{\"type\":\"header\",\"value\":{\"seed\":1}}\n{\"type\":\"sample\",\"value\":{\"name\":\"a\",\"sbench\":{\"block\":1}}}\n{\"type\":\"skip\",\"value\":{\"cell\":\"x\"}}\n{\"type\":\"driver\",\"value\":{\"slug\":\"s\"}}\n{\"type\":\"failure\",\"value\":{}}\ntorn",
      "r{\"type\":7,\"value\":0}\n",
      "r{\"type\":\"sample\",\"value\":{}}\n",
      "k{\"ID\":\"i\",\"Name\":\"/n\",\"Driver\":\"vfs\",\"Image\":" + digest + ",\"MountPoints\":{\"/v\":{\"Name\":\"x\"}}}\n%%\n{\"rootfs\":{\"diff_ids\":[" + digest + "," + digest + "]},\"history\":[{\"created_by\":\"a\"},{\"created_by\":\"b\"}]}",
      "k{\"ID\":\"i\",\"Name\":\"\",\"Driver\":\"vfs\",\"Image\":" + digest + ",\"MountPoints\":{}}\n%%\n{}",
      "k{\"ID\":\"i\",\"Name\":\"/n\",\"Driver\":\"vfs\",\"Image\":" + digest + ",\"MountPoints\":{}}\n%%\n{\"rootfs\":{\"diff_ids\":[\"x\"]},\"history\":[{\"created_by\":\"a\"}]}",
      "j{\"argv\":[\"run\"],\"environment\":{\"A\":\"b\"},\"working_directory\":\"/\",\"modules\":[\"m\"],\"visible\":[],\"writable\":[\"/w\"]}",
  };
}

const Target target("documents", run, seeds, 400, 1 << 16);

}  // namespace
}  // namespace sbench::fuzz
