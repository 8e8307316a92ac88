// pool_test.h: what the tests of the thin pool share: a pool in memory, and a plain model of it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/base/rng.h"
#include "drivers/base/units.h"
#include "drivers/block/memory_device.h"
#include "drivers/thin_pool/check.h"
#include "drivers/thin_pool/pool.h"
#include "tests/support/must.h"

namespace sbench::thin_pool {

using test::code_of;
using test::must;

inline constexpr std::uint64_t kSmallChunk = 64 * kKiB;

/// Only what the test asks for is committed, and when it asks.
inline OpenOptions quiet_options() {
  OpenOptions options;
  options.commit_interval_ms = 0;
  return options;
}

inline std::vector<std::byte> filled(std::uint64_t bytes, std::uint64_t value) {
  std::vector<std::byte> data(bytes);
  for (std::uint64_t at = 0; at + 8 <= bytes; at += 8) {
    std::memcpy(data.data() + at, &value, sizeof(value));
  }
  return data;
}

/// The value of filled() that a block holds; ~0 when it is not of one value.
inline std::uint64_t value_of(std::span<const std::byte> data) {
  std::uint64_t value = 0;
  std::memcpy(&value, data.data(), sizeof(value));
  for (std::uint64_t at = 0; at < data.size(); at += 8) {
    if (std::memcmp(data.data() + at, &value, sizeof(value)) != 0) {
      return ~std::uint64_t{0};
    }
  }
  return value;
}

struct TestPool {
  explicit TestPool(std::uint64_t size_bytes = 16 * kMiB, FormatOptions format = {}, OpenOptions options = quiet_options())
      : device(std::make_unique<MemoryDevice>(size_bytes)), open_options(options) {
    must(Pool::format(*device, format));
    open();
  }
  void open() { pool = must(Pool::open(*device, open_options)); }
  void reopen() {
    pool.reset();
    open();
  }
  void write(DeviceId id, std::uint64_t offset, std::uint64_t length, std::uint64_t value) {
    must(pool->write(id, offset, filled(length, value)));
  }
  std::uint64_t read(DeviceId id, std::uint64_t offset, std::uint64_t length = 4096) {
    std::vector<std::byte> data(length);
    must(pool->read(id, offset, data));
    return value_of(data);
  }
  /// After a commit: what check_pool() has against it.
  std::vector<std::string> findings() {
    must(pool->flush());
    return check_pool(*device).findings;
  }

  std::unique_ptr<MemoryDevice> device;
  OpenOptions open_options;
  std::unique_ptr<Pool> pool;
};

inline std::uint64_t test_seed() {
  const char* chosen = std::getenv("SBENCH_TEST_SEED");
  return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 20260101;
}
/// Longer runs by hand: SBENCH_TEST_ROUNDS=100 sbench_test_thin_pool.
inline std::uint64_t test_rounds(std::uint64_t normal) {
  const char* chosen = std::getenv("SBENCH_TEST_ROUNDS");
  return chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : normal;
}

}  // namespace sbench::thin_pool
