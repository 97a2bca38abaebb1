#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <cstdlib>

int main(int argc, char** argv) {
  // Neither the tests nor the programs that they start keep figures about this machine in its user's folder.
  ::setenv("D2DMOE_CACHE_DIR", "none", /*overwrite=*/0);
  return Catch::Session().run(argc, argv);
}
