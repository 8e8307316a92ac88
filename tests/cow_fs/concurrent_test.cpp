// concurrent_test.cpp: many threads on one pool: files of several datasets, fsync, snapshots, clones and groups at once.
#include <atomic>
#include <thread>

#include "tests/cow_fs/pool_test.h"

namespace sbench::cow_fs {
namespace {

using testing::IsEmpty;

TEST(CowConcurrent, every_thread_reads_what_it_wrote_while_clones_come_and_go) {
  constexpr int kWriters = 3;
  OpenOptions options = quiet_options();
  options.commit_interval_ms = 1;
  options.cache_bytes = 256 * kKiB;
  TestPool test(64 * kMiB, options);
  must(test.pool->create("base", {}));
  const std::string shared = noise(kMiB, 1);
  must(test.files("base").write("shared", 0, shared));
  must(test.pool->snapshot("base", "base@1"));
  std::vector<std::map<std::string, std::string>> models(kWriters);
  std::vector<std::thread> threads;
  for (int writer = 0; writer < kWriters; ++writer) {
    const std::string name = writer < 2 ? "base" : "own";  // two threads in one dataset, one in a clone
    if (writer == 2) {
      must(test.pool->clone("base@1", name));
    }
    threads.emplace_back([&, writer, files = test.files(name)]() mutable {
      Rng rng(test_seed(), "writer " + std::to_string(writer));
      auto& model = models[static_cast<std::size_t>(writer)];
      for (int i = 0; i < 300; ++i) {
        const std::string path = fmt::format("w{}-{}", writer, rng.below(8));
        switch (rng.below(5)) {
          case 0:
            if (model.erase(path) > 0) {
              must(files.unlink(path));
            }
            break;
          case 1:
            if (model.contains(path)) {
              must(files.raw().sync_file(must(files.find(path)), 0, false));
            }
            break;
          case 2:
            if (model.contains(path)) {
              ASSERT_EQ(must(files.read(path)), model[path]) << path;
            }
            break;
          default: {
            const std::string text = noise(1 + rng.below(40'000), rng.next());
            std::string& content = model[path];
            const std::uint64_t offset = rng.below(content.size() + 1);
            must(files.write(path, offset, text));
            content.resize(std::max(content.size(), offset + text.size()));
            content.replace(offset, text.size(), text);
          }
        }
      }
    });
  }
  std::atomic<bool> done = false;
  threads.emplace_back([&] {
    while (!done) {
      must(test.pool->clone("base@1", "passing"));
      {
        const auto seen = must(DatasetFiles::open(*test.pool, "passing"));
        EXPECT_EQ(must(Files(*seen).read("shared")), shared) << "a snapshot does not change";
      }
      must(test.pool->destroy("passing"));
      must(test.pool->snapshot("base", "base@2"));
      must(test.pool->destroy("base@2"));
    }
  });
  for (int writer = 0; writer < kWriters; ++writer) {
    threads[static_cast<std::size_t>(writer)].join();
  }
  done = true;
  threads.back().join();
  test.reopen();
  for (int writer = 0; writer < kWriters; ++writer) {
    Files files = test.files(writer < 2 ? "base" : "own");
    for (const auto& [path, content] : models[static_cast<std::size_t>(writer)]) {
      EXPECT_EQ(must(files.read(path)), content) << path;
    }
  }
  EXPECT_THAT(test.findings(), IsEmpty());
}

}  // namespace
}  // namespace sbench::cow_fs
