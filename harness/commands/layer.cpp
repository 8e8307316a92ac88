// layer.cpp: `sbench layer`: the driver interface by hand, on a store that persists between calls.
#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <functional>
#include <memory>

#include "drivers/base/file.h"
#include "drivers/base/units.h"
#include "drivers/base/usage_error.h"
#include "drivers/block/guard.h"
#include "harness/cli.h"
#include "harness/layer_store.h"

namespace sbench {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kStoreBytesMin = 300 * kMiB;

struct LayerFlags {
  std::string store;
  std::string device;
  std::string driver;
  std::string size = "4G";
  bool wipe = false;
  bool yes = false;
  std::string id;
  std::string name;
  std::string parent;
  std::string file = "-";
};

LayerStore::Place place_of(const LayerFlags& flags) { return store_place(flags.store, flags.device); }

Result<std::unique_ptr<LayerStore>> open_store(const LayerFlags& flags, bool stay = false) {
  return LayerStore::open(place_of(flags), flags.driver, stay);
}

Status format_store(const LayerFlags& flags, Console& console) {
  if (flags.driver.empty()) {
    throw UsageError("layer format needs --driver NAME[:opt=val,...]");
  }
  const Variant variant = parse_variant(flags.driver);
  const Availability availability = variant.spec->probe(variant.options);
  if (!availability.available) {
    return plain_error(ENOTSUP, "{} cannot run here: {}; {}", variant.label, availability.reason, availability.remedy);
  }
  const std::uint64_t size_bytes = parse_size(flags.size, "--size");
  Fd claim;
  if (!flags.device.empty()) {
    SBENCH_TRY_SET(DeviceFacts facts, inspect_device(flags.device));
    require_formattable(facts, kStoreBytesMin, flags.wipe);
    if (!flags.yes) {
      throw UsageError("{} will be overwritten; add --yes when that is meant", facts.path);
    }
    claim = std::move(facts.claim);
  } else if (size_bytes < kStoreBytesMin) {
    throw UsageError("--size {} is too small; at least {} are needed", flags.size,
                     human_size(static_cast<double>(kStoreBytesMin)));
  }
  SBENCH_TRY(LayerStore::format(place_of(flags), variant, size_bytes, std::move(claim)));
  console.err << fmt::format("formatted {} for {}\n", flags.store.empty() ? flags.device : flags.store, variant.label);
  return {};
}

Status apply_tar(const LayerFlags& flags, Console& console) {
  Fd file;
  if (flags.file != "-") {
    SBENCH_TRY_SET(file, open_file(flags.file, O_RDONLY));
  }
  SBENCH_TRY_SET(const auto store, open_store(flags));
  FdSource source(flags.file == "-" ? STDIN_FILENO : file.get(), flags.file == "-" ? "standard input" : flags.file);
  SBENCH_TRY_SET(const std::uint64_t bytes, store->driver().apply(flags.id, source));
  SBENCH_TRY(store->driver().sync());
  console.err << fmt::format("unpacked {} of file content\n", human_size(static_cast<double>(bytes)));
  return {};
}

Result<ParentId> chosen_parent(Driver& driver, const LayerFlags& flags) {
  if (!flags.parent.empty()) {
    return ParentId(flags.parent);
  }
  SBENCH_TRY_SET(const auto rows, driver.list());
  for (const auto& [id, parent] : rows) {
    if (id == flags.id) {
      return parent;
    }
  }
  return plain_error(ENOENT, "there is no layer {}", flags.id);
}

/// Writes to console.out, so that in-process tests see it too.
class ConsoleSink final : public ByteSink {
 public:
  explicit ConsoleSink(Console& console) : console_(console) {}
  Status write(std::span<const std::byte> data) override {
    console_.out.write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
    return console_.out.good() ? Status() : Status(plain_error(EIO, "cannot write to standard output"));
  }

 private:
  Console& console_;
};

Status diff_layer(const LayerFlags& flags, Console& console) {
  SBENCH_TRY_SET(const auto store, open_store(flags));
  SBENCH_TRY_SET(const ParentId parent, chosen_parent(store->driver(), flags));
  if (flags.file == "-") {
    if (console.out_is_terminal) {
      throw UsageError("the tar would go to the terminal; name a file with -o, or redirect it");
    }
    ConsoleSink sink(console);
    return store->driver().diff(flags.id, parent, sink);
  }
  SBENCH_TRY_SET(const Fd file, open_file(flags.file, O_WRONLY | O_CREAT | O_TRUNC));
  FdSink sink(file.get(), flags.file);
  return store->driver().diff(flags.id, parent, sink);
}

Status print_changes(const LayerFlags& flags, Console& console) {
  SBENCH_TRY_SET(const auto store, open_store(flags));
  SBENCH_TRY_SET(const ParentId parent, chosen_parent(store->driver(), flags));
  SBENCH_TRY_SET(const auto changes, store->driver().changes(flags.id, parent));
  for (const auto& change : changes) {
    console.out << letter(change.kind) << " " << change.path << "\n";
  }
  return {};
}

Status print_layers(const LayerFlags& flags, Console& console) {
  SBENCH_TRY_SET(const auto store, open_store(flags));
  SBENCH_TRY_SET(const auto rows, store->driver().list());
  for (const auto& [id, parent] : rows) {
    console.out << id << (parent ? " on " + *parent : "") << "\n";
  }
  return {};
}

/// An operation that opens the store, does one thing and syncs.
Status with_driver(const LayerFlags& flags, const std::function<Status(Driver&)>& operation) {
  SBENCH_TRY_SET(const auto store, open_store(flags));
  SBENCH_TRY(operation(store->driver()));
  return store->driver().sync();
}

class LayerCommands {
 public:
  LayerCommands(CLI::App& parent, CommandContext& context) : parent_(parent), context_(context) {}

  using Body = std::function<Status(const LayerFlags&, Console&)>;
  /// A subcommand whose Status becomes the exit code.
  CLI::App* add(const char* name, const char* help, LayerFlags& flags, Body body) {
    CLI::App* command = parent_.add_subcommand(name, help);
    command->add_option("--store", flags.store, "folder that holds the store");
    command->add_option("--device", flags.device, "block device that holds the store");
    command->add_option("--driver", flags.driver, "NAME[:opt=val,...]; a store folder remembers it");
    command->callback([&flags, body = std::move(body), this] {
      if (::geteuid() != 0) {
        context_.console.err << "sbench: layer needs root to mount file systems; run it with sudo\n";
        context_.exit_code = kExitNothingRan;
        return;
      }
      if (const Status status = body(flags, context_.console); !status.ok()) {
        context_.console.err << "sbench: " << status.error().what << "\n";
        context_.exit_code = kExitError;
      }
    });
    return command;
  }

 private:
  CLI::App& parent_;
  CommandContext& context_;
};

void add_state_commands(const std::shared_ptr<LayerCommands>& commands, const std::shared_ptr<LayerFlags>& flags) {
  auto* format = commands->add("format", "make an empty store", *flags, format_store);
  format->add_option("--size", flags->size, "size of the image file (sparse)")->capture_default_str();
  format->add_flag("--wipe", flags->wipe, "allow a device that carries a signature");
  format->add_flag("--yes", flags->yes, "do overwrite the device");
  auto* prepare = commands->add("prepare", "new writable layer", *flags, [](const LayerFlags& f, Console&) {
    return with_driver(f, [&](Driver& driver) {
      return driver.prepare(f.id, f.parent.empty() ? ParentId() : ParentId(f.parent));
    });
  });
  prepare->add_option("key", flags->id, "id of the new layer")->required();
  prepare->add_option("--parent", flags->parent, "committed layer to stack it on");
  auto* commit = commands->add("commit", "freeze a writable layer under a name", *flags, [](const LayerFlags& f, Console&) {
    return with_driver(f, [&](Driver& driver) { return driver.commit(f.name, f.id); });
  });
  commit->add_option("key", flags->id, "the writable layer")->required();
  commit->add_option("name", flags->name, "its name from now on")->required();
  auto* remove = commands->add("remove", "delete a layer", *flags, [](const LayerFlags& f, Console&) {
    return with_driver(f, [&](Driver& driver) { return driver.remove(f.id); });
  });
  remove->add_option("id", flags->id, "the layer")->required();
  commands->add("list", "layers and their parents", *flags, print_layers);
}

void add_tree_commands(const std::shared_ptr<LayerCommands>& commands, const std::shared_ptr<LayerFlags>& flags) {
  auto* mount = commands->add("mount", "mount a layer, print its path, leave it mounted", *flags,
                              [](const LayerFlags& f, Console& console) -> Status {
                                SBENCH_TRY_SET(const auto store, open_store(f, true));
                                SBENCH_TRY_SET(const fs::path path, store->keep_mounted(f.id));
                                console.out << path.string() << "\n";
                                return {};
                              });
  mount->add_option("id", flags->id, "the layer")->required();
  auto* unmount = commands->add("unmount", "undo mount", *flags, [](const LayerFlags& f, Console&) -> Status {
    SBENCH_TRY_SET(const auto store, open_store(f, true));
    return store->unmount(f.id);
  });
  unmount->add_option("id", flags->id, "the layer")->required();
  auto* apply = commands->add("apply", "unpack an OCI layer tar into a writable layer", *flags, apply_tar);
  apply->add_option("key", flags->id, "the writable layer")->required();
  apply->add_option("file", flags->file, "the tar; - reads standard input")->capture_default_str();
  auto* diff = commands->add("diff", "write what a layer changed as an OCI layer tar", *flags, diff_layer);
  diff->add_option("id", flags->id, "the layer")->required();
  diff->add_option("--parent", flags->parent, "compare with this layer; default: its parent");
  diff->add_option("-o,--output", flags->file, "the tar; default: standard output");
  auto* changes = commands->add("changes", "list what a layer changed: A added, C changed, D deleted", *flags, print_changes);
  changes->add_option("id", flags->id, "the layer")->required();
  changes->add_option("--parent", flags->parent, "compare with this layer; default: its parent");
  auto* usage = commands->add("usage", "bytes and inodes that are the layer's own", *flags,
                              [](const LayerFlags& f, Console& console) -> Status {
                                SBENCH_TRY_SET(const auto store, open_store(f));
                                SBENCH_TRY_SET(const Usage used, store->driver().usage(f.id));
                                console.out << fmt::format("bytes  {}\ninodes {}\n", used.bytes_allocated, used.inodes);
                                return {};
                              });
  usage->add_option("id", flags->id, "the layer")->required();
}

}  // namespace

void add_layer_command(CLI::App& program, CommandContext& context) {
  CLI::App* layer = program.add_subcommand("layer", "Work with a driver's layers by hand, on a store that persists");
  layer->require_subcommand(1);
  auto flags = std::make_shared<LayerFlags>();
  auto commands = std::make_shared<LayerCommands>(*layer, context);
  add_state_commands(commands, flags);
  add_tree_commands(commands, flags);
  layer->final_callback([flags, commands] {});  // keeps both alive as long as the program
}

}  // namespace sbench
