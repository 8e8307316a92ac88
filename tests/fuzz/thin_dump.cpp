// A thin pool's dump, restored. Input: a byte, then the text; a restored pool is whole and dumps to what restores again.
#include <sstream>

#include "drivers/base/units.h"
#include "drivers/thin_pool/check.h"
#include "drivers/thin_pool/dump.h"
#include "tests/fuzz/patched_device.h"
#include "tests/fuzz/target.h"

namespace sbench::fuzz {
namespace {

using namespace thin_pool;

void run(Bytes input) {
  static const std::vector<std::byte> blank(4 << 20);
  PatchedDevice device(blank);
  std::istringstream text(text_of(input));
  const Status restored = restore_pool(device, text);
  if (!restored.ok()) {
    return;
  }
  const auto report = check_pool(device);
  require(report.findings.empty(), "a restored pool is damaged: " + (report.findings.empty() ? "" : report.findings.front()));
  std::string dumped;
  const Status done = dump_pool(device, [&dumped](std::string_view line) -> Status {
    dumped += line;
    return {};
  });
  require(done.ok(), "a restored pool cannot be dumped");
  PatchedDevice other(blank);
  std::istringstream again(dumped);
  require(restore_pool(other, again).ok(), "what was dumped cannot be restored");
}

std::vector<std::string> seeds() {
  const std::string head = "thin_pool 1 chunk_bytes=65536 metadata_blocks=128 data_offset=524288 data_chunks=50 skip_zeroing=0 time=3 transaction=9\n";
  return {head + "device 7 size_bytes=1048576 created=1 snapshotted=2 transaction=4\nmap 0+4 10 3\nzero 4+2\nmap 8+1 20 0\n"
                 "device 8 size_bytes=65536 created=0 snapshotted=3 transaction=5\nmap 0+1 10 3\nend\n",
          head + "end\n",
          head + "device 1 size_bytes=1152921504606846976 created=0 snapshotted=0 transaction=1\nzero 0+17592186044416\nend\n"};
}

const Target target("thin_dump", run, seeds, 150, 2048);

}  // namespace
}  // namespace sbench::fuzz
