// serve_union_test.cpp: a union served on request, for the script compare_speed beside it.
//
// SBENCH_SERVE_UNION="DIALECT LOWER UPPER WORK AT" sbench_test_fuse --gtest_filter=ServeUnion.*
// serves until AT is unmounted.
#include <thread>

#include "drivers/backing/mount_point.h"
#include "drivers/union_fs/union_fs.h"
#include "tests/fuse/served.h"

namespace sbench::test {
namespace {

TEST(ServeUnion, until_it_is_unmounted) {
  const char* wanted = std::getenv("SBENCH_SERVE_UNION");
  if (wanted == nullptr) {
    GTEST_SKIP() << "SBENCH_SERVE_UNION is not set; tests/fuse/compare_speed sets it";
  }
  std::istringstream fields(wanted);
  std::string dialect;
  std::string lower;
  std::string upper;
  std::string work;
  std::string at;
  ASSERT_TRUE(fields >> dialect >> lower >> upper >> work >> at);
  UnionOptions options;
  options.dialect = dialect == "aufs" ? UnionDialect::aufs : UnionDialect::overlay;
  options.lower = {lower};
  options.upper = upper;
  options.work = work;
  fuse::ServerOptions server;
  server.session.name = dialect;
  const auto serving = must(fuse::ServerProcess::start(at, server, [options] { return open_union(options); }));
  while (serving->alive()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
}

}  // namespace
}  // namespace sbench::test
