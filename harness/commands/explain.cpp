// explain.cpp: `sbench explain`: which layer answers for a path in a container, and why.
#include "harness/explain.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "drivers/base/usage_error.h"
#include "harness/cli.h"
#include "harness/data_root.h"
#include "harness/layer_store.h"

namespace sbench {
namespace {

struct ExplainFlags {
  std::string data_root;
  std::string store;
  std::string device;
  std::string driver;
  std::string id;
  std::string path;
};

using MadeBy = std::vector<std::pair<LayerId, std::string>>;

void print(const Explanation& made, const MadeBy& made_by, Console& console) {
  std::size_t layer_width = 0;
  std::size_t what_width = 0;
  for (const auto& row : made.rows) {
    layer_width = std::max(layer_width, row.layer.size());
    what_width = std::max(what_width, row.what.size());
  }
  for (const auto& row : made.rows) {
    const auto found =
        std::find_if(made_by.begin(), made_by.end(), [&](const auto& each) { return each.first == row.layer; });
    console.out << fmt::format("{:<{}}  {}", row.layer, layer_width, row.what);
    if (found != made_by.end()) {
      console.out << fmt::format("{:{}}  # {}", "", what_width - row.what.size(), found->second);
    }
    console.out << "\n";
  }
  console.out << (made.answer ? fmt::format("answer: {}; {}\n", *made.answer, made.reason)
                              : fmt::format("answer: it does not exist; {}\n", made.reason));
}

/// The volume that lies over `path` in the container; empty: none.
std::string volume_over(const KeptContainer& container, const std::string& path) {
  const std::string normal = (std::filesystem::path("/") / path).lexically_normal().string();
  for (const auto& [target, volume] : container.volumes) {
    if (normal == target || normal.starts_with(target + "/")) {
      return fmt::format("{} is the volume {}'s", target, volume);
    }
  }
  return {};
}

Status explain_layer(const LayerStore::Place& place, const std::string& driver, const LayerId& id,
                     const std::string& path, const MadeBy& made_by, Console& console) {
  SBENCH_TRY_SET(const auto opened, LayerStore::open(place, driver, false));
  SBENCH_TRY_SET(const Explanation made, explain_path(opened->driver(), opened->store().variant().spec->name,
                                                      opened->store().root(), id, path));
  print(made, made_by, console);
  return {};
}

Status explain_container(const ExplainFlags& flags, Console& console) {
  const std::filesystem::path root = flags.data_root;
  SBENCH_TRY_SET(auto containers, read_data_root(root));
  // Opening a store makes a mount namespace, in which what `layer mount` keeps of another one is not seen.
  std::stable_partition(containers.begin(), containers.end(),
                        [&](const auto& each) { return std::filesystem::exists(root / each.driver / "kept"); });
  bool found = false;
  for (const auto& container : containers) {
    const bool named = container.name == flags.id || (flags.id.size() >= 4 && container.id.starts_with(flags.id));
    if (!named || (!flags.driver.empty() && container.driver != parse_variant(flags.driver).slug)) {
      continue;
    }
    console.out << (found ? "\n" : "")
                << fmt::format("{}: container {} ({})\n", container.driver, container.name, container.id.substr(0, 12));
    found = true;
    if (const std::string volume = volume_over(container, flags.path); !volume.empty()) {
      console.out << fmt::format("answer: no layer; {}, which hides what the layers hold there\n", volume);
      continue;
    }
    SBENCH_TRY(
        explain_layer({root / container.driver, {}}, "", container.layer, flags.path, container.made_by, console));
  }
  return found ? Status()
               : Status(plain_error(ENOENT, "{} has no container {}{}", flags.data_root, flags.id,
                                    flags.driver.empty() ? "" : " of " + flags.driver));
}

Status explain(const ExplainFlags& flags, Console& console) {
  if ((flags.data_root.empty() ? 0 : 1) + (flags.store.empty() ? 0 : 1) + (flags.device.empty() ? 0 : 1) != 1) {
    throw UsageError(
        "say where the container is: --data-root DIR (of run --keep), --store DIR or --device DEV (of layer)");
  }
  if (!flags.data_root.empty()) {
    return explain_container(flags, console);
  }
  return explain_layer(store_place(flags.store, flags.device), flags.driver, flags.id, flags.path, {}, console);
}

}  // namespace

void add_explain_command(CLI::App& program, CommandContext& context) {
  auto flags = std::make_shared<ExplainFlags>();
  CLI::App* command = program.add_subcommand("explain", "Say which layer answers for a path in a container, and why");
  command->add_option("container", flags->id, "a container's name or id; with --store or --device a layer's id")
      ->required();
  command->add_option("path", flags->path, "from the container's root")->required();
  command->add_option("--data-root", flags->data_root, "what sbench run --keep left");
  command->add_option("--store", flags->store, "folder that holds a store of sbench layer");
  command->add_option("--device", flags->device, "block device that holds one");
  command->add_option("--driver", flags->driver, "NAME[:opt=val,...]; default: every driver's container of that name");
  command->callback([flags, &context] {
    if (::geteuid() != 0) {
      context.console.err << "sbench: explain needs root to mount file systems; run it with sudo\n";
      context.exit_code = kExitNothingRan;
      return;
    }
    if (const Status status = explain(*flags, context.console); !status.ok()) {
      context.console.err << "sbench: " << status.error().what << "\n";
      context.exit_code = kExitError;
    }
  });
}

}  // namespace sbench
