// image.cpp: `sbench image`: what an image is made of, its shape as a profile, and packing one.
#include <CLI/CLI.hpp>
#include <memory>

#include "drivers/base/file.h"
#include "harness/cli.h"
#include "images/inspect.h"
#include "images/oci_archive.h"
#include "images/profile.h"

namespace sbench {
namespace {

struct ImageFlags {
  ImageRequest request;
  std::string output;
  std::string name;
  std::string compression = "gzip";
};

Status inspect(const ImageFlags& flags, Console& console) {
  SBENCH_TRY_SET(const Image image, load_image(flags.request));
  SBENCH_TRY_SET(const ImageFacts facts, inspect_image(image));
  console.out << describe(image, facts);
  return {};
}

Status profile(const ImageFlags& flags, Console& console) {
  SBENCH_TRY_SET(const Image image, load_image(flags.request));
  SBENCH_TRY_SET(ImageProfile made, profile_image(image));
  if (!flags.name.empty()) {
    made.name = flags.name;
  }
  const std::string text = profile_text(made);
  if (flags.output.empty()) {
    console.out << text;
    return {};
  }
  SBENCH_TRY(write_text_atomic(flags.output, text));
  console.err << fmt::format("wrote {} ({}); use it with --image profile:{}\n", flags.output,
                             human_size(static_cast<double>(text.size())), flags.output);
  return {};
}

Status pack(const ImageFlags& flags, Console& console) {
  SBENCH_TRY_SET(const Image image, load_image(flags.request));
  NewImage made;
  for (const auto& layer : image.layers) {
    SBENCH_TRY_SET(const auto tar, layer.tar->map());
    made.layers.push_back(tar);
  }
  made.compression = flags.compression == "zstd"   ? Compression::zstd
                     : flags.compression == "gzip" ? Compression::gzip
                                                   : Compression::none;
  made.tag = flags.name.empty() ? image.name : flags.name;
  made.platform = image.platform;
  SBENCH_TRY_SET(const auto members, oci_members(made));
  SBENCH_TRY(write_archive(members, flags.output));
  console.err << fmt::format("wrote {}: {} layers, {} unpacked\n", flags.output, image.layers.size(),
                             human_size(static_cast<double>(image.tar_bytes())));
  return {};
}

}  // namespace

void add_image_command(CLI::App& program, CommandContext& context) {
  CLI::App* image = program.add_subcommand("image", "Look into container images and root file systems");
  image->require_subcommand(1);
  const auto flags = std::make_shared<ImageFlags>();
  using Body = Status (*)(const ImageFlags&, Console&);
  const auto add = [&](const char* name, const char* help, Body body) {
    CLI::App* command = image->add_subcommand(name, help);
    command->add_option("source", flags->request.source,
                        "OCI layout or archive, docker save tar, FILE#TAG, host:PATH, tar:FILE")
        ->required();
    command->add_option("--platform", flags->request.platform, "os/architecture of a multi-platform image");
    command->callback([flags, body, &context] {
      if (const Status status = body(*flags, context.console); !status.ok()) {
        context.console.err << "sbench: " << status.error().what << "\n";
        context.exit_code = kExitError;
      }
    });
    return command;
  };
  add("inspect", "print layers, file sizes, depth and duplicates", inspect);
  CLI::App* made = add("profile", "write the image's shape, without content and names, for --image profile:FILE", profile);
  made->add_option("-o,--output", flags->output, "the profile; default: standard output");
  made->add_option("--name", flags->name, "name kept in the profile; default: the image's");
  CLI::App* packed = add("pack", "write it as an OCI archive", pack);
  packed->add_option("-o,--output", flags->output, "the archive")->required();
  packed->add_option("--name", flags->name, "its tag; default: the image's name");
  packed->add_option("--compression", flags->compression, "of the layers")
      ->check(CLI::IsMember({"none", "gzip", "zstd"}))
      ->capture_default_str();
}

}  // namespace sbench
