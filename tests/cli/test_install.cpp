// `cmake --install` and find_package(d2dmoe), as a C++ user meets them.
#include "support/process.h"
#include "support/support.h"
#include "support/tiny.h"

using namespace d2dmoe::test;

TEST_CASE("install: the example builds against the installed package and runs", "[slow]") {
  TempDir dir;
  write_tiny_model(dir / "model");
  const auto result =
      run_program("/bin/bash", {"tests/check_install.sh", D2DMOE_BUILD_DIR, (dir / "model").string()});
  INFO(result.out << result.err);
  CHECK(result.code == 0);
  CHECK(contains(result.out, "[CLS]") == false);  // a dense model runs no experts: no counts
  CHECK(contains(result.out, "CPUFloatType{1,6}"));
}
