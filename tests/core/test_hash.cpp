#include "d2dmoe/core/hash.h"

#include <fstream>

#include "d2dmoe/core/error.h"
#include "support/support.h"

using namespace d2dmoe;

TEST_CASE("hash: the published test vectors (FIPS 180-4)") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("hash: a file larger than the buffer") {
  const test::TempDir dir;
  const std::string bytes(3'000'001, 'x');
  std::ofstream(dir / "f", std::ios::binary) << bytes;
  CHECK(sha256_file(dir / "f") == sha256(bytes));
  CHECK_THROWS_AS(sha256_file(dir / "missing"), Error);
  CHECK_THROWS_AS(sha256_file(dir.path()), Error);
}
