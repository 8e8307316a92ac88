// model_test.cpp: every driver against the model of all: a plain directory.
//
// A seeded list of operations is carried out in a container's tree and in a
// plain directory of the same device kind; outcomes must agree call by call and
// the trees after every sitting. In between, layers are committed and built
// upon, trees are unmounted, stores closed and opened again, and servers killed.
//
// Two exceptions are allowed, the documented ones: where a driver refuses to rename a lower
// directory (EXDEV), or to rename with flags (EINVAL: OpenZFS before 2.2), the model leaves it alone, too.
//
//     SBENCH_MODEL_SEEDS=100 build/release/tests/sbench_test_conformance --gtest_filter='*Model*'
//     SBENCH_MODEL_SEED=17 …                                              that one alone
#include <csignal>
#include <cstdlib>
#include <thread>

#include "drivers/base/helper.h"
#include "drivers/layer/tree.h"
#include "tests/conformance/posix_operations.h"
#include "tests/conformance/variants.h"

namespace sbench::test {
namespace {

constexpr std::size_t kOperationsPerSitting = 150;
constexpr std::int64_t kRecent = 1'600'000'000'000'000'000;  ///< ns; utimes and set_old_times stay far below

std::vector<std::uint64_t> seeds() {
  if (const char* one = std::getenv("SBENCH_MODEL_SEED")) {
    return {std::strtoull(one, nullptr, 10)};
  }
  const char* many = std::getenv("SBENCH_MODEL_SEEDS");
  std::vector<std::uint64_t> all(many == nullptr ? 2 : std::strtoull(many, nullptr, 10));
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i] = i + 1;
  }
  return all;
}

/// Which modification times a driver keeps well enough to be compared. What the kernel's overlayfs does to old times:
/// a directory's is lost when two files in it are copied up at the same moment, and when something is renamed with a
/// redirect; a file's when its metadata was copied up first and its data follows at an open for writing.
enum class Times { none, files, all };

Times times_kept(const Variant& variant, unsigned threads) {
  if (variant.given.contains("metacopy")) {
    return Times::none;
  }
  return threads > 1 || variant.given.contains("redirect_dir") ? Times::files : Times::all;
}

/// The tree with every recent time replaced by 0, without the second name xfs has for an ACL.
Tree settled(const std::filesystem::path& root, Times times) {
  Tree tree = must(read_tree(root, {.directory_times = times == Times::all}));
  for (auto& [path, entry] : tree) {
    entry.mtime_ns = times == Times::none || entry.mtime_ns > kRecent ? 0 : entry.mtime_ns;
    entry.xattrs.erase("trusted.SGI_ACL_FILE");
    entry.xattrs.erase("trusted.SGI_ACL_DEFAULT");
  }
  return tree;
}

/// The plain directory on the file system that the driver keeps its layers on: file systems differ in small things.
Variant model_of(const Variant& variant) {
  const Options options = variant.options();
  const auto backing = options.find("backing");
  return {"native", {{"backing", variant.driver == "btrfs" ? "btrfs" : backing == options.end() ? "ext4" : backing->second}}};
}

/// One driver's store and the model's, worked through alike.
class Pair {
 public:
  explicit Pair(const Variant& variant) : subject_(variant), model_(model_of(variant)) {}

  void begin_layer(const LayerId& id, const ParentId& parent) {
    id_ = id;
    for (auto* store : {&subject_, &model_}) {
      must(store->driver().prepare(id, parent));
    }
    has_parent_ = parent.has_value();
  }

  void end_layer() {
    for (auto* store : {&subject_, &model_}) {
      {
        auto mount = must(store->driver().mount(id_));
        set_old_times(mount.path());
        must(mount.release());
      }
      must(store->driver().commit(id_, id_));
    }
  }

  /// `threads` lists at once in the subject, one after another in the model, below directories of their own.
  void sitting(std::uint64_t seed, std::string_view stream, unsigned threads) {
    auto left = must(subject_.driver().mount(id_));
    auto right = must(model_.driver().mount(id_));
    std::vector<std::vector<Operation>> lists(threads);
    std::vector<std::vector<std::string>> outcomes(threads);
    for (unsigned thread = 0; thread < threads; ++thread) {
      const std::string top = threads == 1 ? "" : fmt::format("t{}", thread);
      Rng rng(seed, fmt::format("{} {} {}", stream, id_, thread));
      lists[thread] = draw_operations(rng, kOperationsPerSitting, top);
      if (!top.empty()) {
        ::mkdir((left.path() / top).c_str(), 0755);
        ::mkdir((right.path() / top).c_str(), 0755);
      }
    }
    // A lower layer's hard links come apart at copy-up on some drivers, as Docker's do: lists leave them alone.
    together(lists, left.path(), has_parent_ ? hard_linked_files(left.path()) : FileSet(), outcomes);
    for (unsigned thread = 0; thread < threads; ++thread) {
      PosixTree model(right.path());
      agree(lists[thread], outcomes[thread], model);
    }
    const Times times = times_kept(subject_.variant(), threads);
    EXPECT_THAT(compare_trees(settled(right.path(), times), settled(left.path(), times)), testing::IsEmpty())
        << "layer " << id_ << ", " << stream;
  }

  /// One sitting whose server is killed between operations, several times: nothing acknowledged is lost.
  void sitting_with_kills(std::uint64_t seed, int kills) {
    for (int part = 0; part < kills; ++part) {
      auto left = must(subject_.driver().mount(id_));
      auto right = must(model_.driver().mount(id_));
      {
        Rng rng(seed, fmt::format("part {} of {}", part, id_));
        const auto list = draw_operations(rng, kOperationsPerSitting / 3);
        std::vector<std::string> outcomes;
        PosixTree subject(left.path(), has_parent_ ? hard_linked_files(left.path()) : FileSet());
        PosixTree model(right.path());
        for (const auto& operation : list) {
          outcomes.push_back(subject.apply(operation));
        }
        agree(list, outcomes, model);
      }
      ASSERT_FALSE(live_helpers().empty());
      for (const auto& helper : live_helpers()) {
        ::kill(helper.pid, SIGKILL);
      }
      while (!live_helpers().empty()) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      EXPECT_FALSE(left.release().ok()) << "a mount whose server died does not say so";
      left = must(subject_.driver().mount(id_));
      const Times times = times_kept(subject_.variant(), 1);
      EXPECT_THAT(compare_trees(settled(right.path(), times), settled(left.path(), times)), testing::IsEmpty())
          << "layer " << id_ << ", after kill " << part;
    }
  }

  void reopen() {
    subject_.reopen();
    model_.reopen();
  }

  [[nodiscard]] std::size_t refused() const { return refused_; }
  [[nodiscard]] std::size_t done() const { return done_; }

 private:
  static void together(const std::vector<std::vector<Operation>>& lists, const std::filesystem::path& root,
                       const FileSet& left_alone, std::vector<std::vector<std::string>>& outcomes) {
    std::vector<std::jthread> workers;
    for (std::size_t thread = 0; thread < lists.size(); ++thread) {
      workers.emplace_back([&, thread] {
        PosixTree tree(root, left_alone);
        for (const auto& operation : lists[thread]) {
          outcomes[thread].push_back(tree.apply(operation));
        }
      });
    }
  }

  bool refuses_flags(OperationKind kind, const std::string& outcome) const {
    return subject_.variant().driver == "zfs" && outcome == "EINVAL" &&
           (kind == OperationKind::rename_no_replace || kind == OperationKind::rename_exchange);
  }

  void agree(const std::vector<Operation>& list, const std::vector<std::string>& outcomes, PosixTree& model) {
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (outcomes[i] == PosixTree::kLeftAlone) {
        continue;
      }
      ++done_;
      if (outcomes[i] == "EXDEV" || refuses_flags(list[i].kind, outcomes[i])) {
        ++refused_;
        continue;
      }
      EXPECT_EQ(outcomes[i], model.apply(list[i])) << list[i].text() << ", number " << i << " in layer " << id_;
    }
  }

  TestStore subject_;
  TestStore model_;
  LayerId id_;
  bool has_parent_ = false;
  std::size_t done_ = 0;
  std::size_t refused_ = 0;
};

class Model : public testing::TestWithParam<Variant> {
 protected:
  void SetUp() override { SBENCH_SKIP_UNLESS_AVAILABLE(GetParam()); }
};
SBENCH_INSTANTIATE_FOR_EVERY_DRIVER(Model);

TEST_P(Model, operations_over_three_layers_with_remounts_agree_with_a_plain_directory) {
  SBENCH_SKIP_KNOWN_DEVIATIONS(GetParam());
  for (const auto seed : seeds()) {
    SCOPED_TRACE(fmt::format("SBENCH_MODEL_SEED={}", seed));
    Pair pair(GetParam());
    ParentId parent;
    for (const auto* id : {"bottom", "middle", "top"}) {
      pair.begin_layer(id, parent);
      pair.sitting(seed, "first", 1);
      pair.sitting(seed, "after a remount", 1);
      pair.reopen();
      pair.sitting(seed, "after the store was closed", 1);
      pair.end_layer();
      parent = id;
      if (HasFailure()) {
        return;
      }
    }
    EXPECT_LT(pair.refused(), pair.done() / 10);
  }
}

TEST_P(Model, threads_in_one_tree_agree_with_a_plain_directory) {
  SBENCH_SKIP_KNOWN_DEVIATIONS(GetParam());
  for (const auto seed : seeds()) {
    SCOPED_TRACE(fmt::format("SBENCH_MODEL_SEED={}", seed));
    Pair pair(GetParam());
    pair.begin_layer("lower", {});
    pair.sitting(seed, "first", 4);
    pair.end_layer();
    pair.begin_layer("upper", "lower");
    pair.sitting(seed, "over a lower layer", 4);
    pair.sitting(seed, "after a remount", 4);
  }
}

/// Drivers whose trees a server of ours shows. (devicemapper's server is the device: tests/thin_pool cuts that off.)
std::vector<Variant> served_variants() {
  return {{"aufs", {{"engine", "userspace"}}},
          {"overlay2", {{"engine", "userspace"}}},
          {"overlay2", {{"engine", "userspace"}, {"metacopy", "on"}}}};
}

class ServedModel : public Model {};
INSTANTIATE_TEST_SUITE_P(Drivers, ServedModel, testing::ValuesIn(served_variants()),
                         [](const auto& variant) { return variant.param.test_name(); });

TEST_P(ServedModel, a_server_killed_between_operations_loses_nothing) {
  for (const auto seed : seeds()) {
    SCOPED_TRACE(fmt::format("SBENCH_MODEL_SEED={}", seed));
    Pair pair(GetParam());
    pair.begin_layer("lower", {});
    pair.sitting(seed, "first", 1);  // a base layer may need no server
    pair.end_layer();
    pair.begin_layer("upper", "lower");
    pair.sitting_with_kills(seed, 4);
    pair.end_layer();
  }
}

}  // namespace
}  // namespace sbench::test
