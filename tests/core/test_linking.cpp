#include <dlfcn.h>

#include <filesystem>
#include <string>

#include "support/support.h"

TEST_CASE("linking: std::filesystem comes from libstdc++, not from what LibTorch carries of it") {
  // LibTorch's wheels export functions of an older libstdc++, which call address 0 beside that of GCC 13.
  const char* const remove_all = "_ZNSt10filesystem10remove_allERKNS_7__cxx114pathERSt10error_code";
  void* const found = ::dlsym(RTLD_DEFAULT, remove_all);
  REQUIRE(found != nullptr);
  Dl_info info;
  REQUIRE(::dladdr(found, &info) != 0);
  CHECK(std::filesystem::path(info.dli_fname).filename().string().rfind("libstdc++", 0) == 0);
}
