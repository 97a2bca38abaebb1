#include "d2dmoe/data/content_hash.h"

#include <fstream>

#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;
namespace fs = std::filesystem;
using data::content_hash;

TEST_CASE("content hash: small files by their bytes, folders by names and sizes") {
  const TempDir dir;
  CHECK(content_hash("").empty());
  CHECK(content_hash(dir / "none").empty());

  std::ofstream(dir / "a") << "abc";
  // printf abc | sha256sum
  CHECK(content_hash(dir / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");

  fs::create_directories(dir / "images/cat");
  std::ofstream(dir.path() / "images/cat/1.png") << "1";
  const auto before = content_hash(dir / "images");
  CHECK(content_hash(dir / "images") == before);
  fs::create_directories(dir / "images/dog");
  CHECK(content_hash(dir / "images") == before);  // no file more
  fs::rename(dir.path() / "images/cat/1.png", dir.path() / "images/dog/1.png");
  CHECK(content_hash(dir / "images") != before);
}

TEST_CASE("content hash: a large file by its size and both ends") {
  const TempDir dir;
  const fs::path file = dir / "large";
  std::ofstream(file) << "begin";
  fs::resize_file(file, uintmax_t{65} << 20);  // sparse
  const auto before = content_hash(file);
  fs::resize_file(file, (uintmax_t{65} << 20) + 1);
  CHECK(content_hash(file) != before);
  fs::resize_file(file, uintmax_t{65} << 20);
  CHECK(content_hash(file) == before);
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekp(-1, std::ios::end);
  stream << "x" << std::flush;
  CHECK(content_hash(file) != before);
}
