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

TEST_CASE("content hash: hidden files and circles of links do not count") {
  const TempDir dir;
  fs::create_directories(dir.path() / "texts/.cache");
  std::ofstream(dir.path() / "texts/a.txt") << "a";
  const auto before = content_hash(dir / "texts");
  std::ofstream(dir.path() / "texts/.DS_Store") << "x";
  std::ofstream(dir.path() / "texts/.cache/b.txt") << "b";
  CHECK(content_hash(dir / "texts") == before);
  fs::create_directory_symlink("..", dir.path() / "texts/up");
  CHECK_FALSE(content_hash(dir / "texts").empty());
}

TEST_CASE("content hash: a path into an archive is the archive's, IDX labels belong to their images") {
  const TempDir dir;
  std::ofstream(dir / "all.tar") << "one";
  const auto before = content_hash(dir.path() / "all.tar/train");
  CHECK(before == content_hash(dir / "all.tar"));
  std::ofstream(dir / "all.tar") << "two";
  CHECK(content_hash(dir.path() / "all.tar/train") != before);

  std::ofstream(dir / "t-images-idx3-ubyte") << "pixels";
  std::ofstream(dir / "t-labels-idx1-ubyte") << "0";
  const auto zero = content_hash(dir / "t-images-idx3-ubyte");
  std::ofstream(dir / "t-labels-idx1-ubyte") << "1";
  CHECK(content_hash(dir / "t-images-idx3-ubyte") != zero);
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
