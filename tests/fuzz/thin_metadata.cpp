// A thin pool's metadata: superblocks, trees, space maps. Input: changes to an image (thin_image.h), then what is done with the
// pool. Whatever was changed, check, dump and every operation end; and a pool that check calls whole works, and stays whole.
#include "drivers/thin_pool/check.h"
#include "drivers/thin_pool/dump.h"
#include "drivers/thin_pool/pool.h"
#include "tests/fuzz/thin_image.h"

namespace sbench::fuzz {
namespace {

using namespace thin_pool;

/// One call; its error, 0 without one.
int operate(Pool& pool, Reader& input, const std::vector<DeviceId>& ids) {
  const unsigned what = input.byte();
  const DeviceId id = ids.empty() ? 1 : ids[input.byte() % ids.size()];
  const auto record = pool.device(id);
  if (!record.ok()) {
    return record.error().code;
  }
  const std::uint64_t chunk = thin_image().bytes.empty() ? 0 : pool.statistics().chunk_bytes;
  const std::uint64_t blocks = std::max<std::uint64_t>(record->size_bytes / 512, 1);
  const std::uint64_t offset = input.number(3) * 64 % blocks * 512;
  const std::uint64_t left = record->size_bytes - std::min(offset, record->size_bytes);
  std::vector<std::byte> data(std::min<std::uint64_t>(left, 1024), std::byte{1});
  const auto code = [](const auto& result) { return result.ok() ? 0 : result.error().code; };
  switch (what % 8) {
    case 0:
      return code(pool.read(id, offset, data));
    case 1:
      return code(pool.write(id, offset, data));
    case 2:
      return code(pool.discard(id, offset, std::min(left / 512 * 512, 4 * chunk)));
    case 3:
      return code(pool.zero(id, offset, std::min(left / 512 * 512, 4 * chunk)));
    case 4:
      return code(pool.seek(id, offset, what >= 128));
    case 5:
      return code(pool.create_snapshot(200 + what, id));
    case 6:
      return code(pool.delete_device(id));
    default:
      return code(pool.flush());
  }
}

void run(Bytes bytes) {
  Reader input(bytes);
  PatchedDevice device(thin_image().bytes);
  damage(device, input);
  const bool whole = check_pool(device).findings.empty();
  std::size_t lines = 0;
  const Status dumped = dump_pool(device, [&lines](std::string_view) -> Status {
    ++lines;
    return {};
  });
  require(dumped.ok() || !whole, "check finds nothing, but it cannot be dumped: " + (dumped.ok() ? "" : dumped.error().what));
  OpenOptions options;
  options.commit_interval_ms = 0;
  options.cache_bytes = 1 << 20;
  const auto pool = Pool::open(device, options);
  require(pool.ok() || !whole, "check finds nothing, but it cannot be opened");
  if (!pool.ok()) {
    return;
  }
  const auto ids = (*pool)->device_ids();
  for (int operations = 0; operations < 8 && !input.empty(); ++operations) {
    const int code = operate(**pool, input, ids.ok() ? *ids : std::vector<DeviceId>());
    require(!whole || (code != EUCLEAN && code != EIO), "check finds nothing, but an operation does");
  }
  const Status flushed = (*pool)->flush();
  require(flushed.ok() || !whole, "check finds nothing, but nothing can be committed");
  if (whole) {
    const auto findings = check_pool(device).findings;
    require(findings.empty(), "a whole pool is damaged by use: " + (findings.empty() ? "" : findings.front()));
  }
}

std::vector<std::string> seeds() {
  std::vector<std::string> made = {std::string(1, '\0')};
  for (unsigned block = 0; block < thin_image().blocks.size(); ++block) {
    // Some bytes near the block's start, then each operation once.
    std::string input = {0x3c, static_cast<char>(block), 20, 0, 1, 2, 3, 4, 0x0a, static_cast<char>(block), 40, 0, 64, 0, static_cast<char>(block + 1), 0, 1};
    for (char operation = 0; operation < 8; ++operation) {
      input += {operation, static_cast<char>(operation), 1, operation, 0};
    }
    made.push_back(input);
  }
  std::string use = {0, 1};
  for (char operation = 0; operation < 8; ++operation) {
    use += {operation, operation, 9, 1, 0};
  }
  made.push_back(use);
  return made;
}

const Target target("thin_metadata", run, seeds, 250, 512);

}  // namespace
}  // namespace sbench::fuzz
