#include <cstdlib>
#include <fstream>

#include "d2dmoe/core/error.h"
#include "d2dmoe/data/idx.h"
#include "d2dmoe/data/image_class_paths.h"
#include "d2dmoe/data/image_files.h"
#include "d2dmoe/io/atomic_file.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

namespace fs = std::filesystem;

// train/{cat,dog,Ape}/… with a deeper folder, a hidden file and one that is no image.
void write_image_folder(const fs::path& dir) {
  const std::pair<const char*, const char*> files[] = {{"train/dog/b.PNG", "grey.png"},
                                                       {"train/dog/a.jpg", "rgb.jpg"},
                                                       {"train/dog/old/c.jpeg", "grey.jpg"},
                                                       {"train/cat/x.png", "rgba.png"},
                                                       {"train/Ape/1.jpg", "cmyk.jpg"},
                                                       {"train/cat/._x.png", "rgb.png"},
                                                       {"train/cat/notes.txt", "processors.json"},
                                                       {"train/loose.png", "rgb.png"}};
  for (const auto& [to, from] : files) {
    fs::create_directories((dir / to).parent_path());
    fs::copy_file(golden("images") / from, dir / to);
  }
}

void check_images(const data::ImageFiles& files, const std::string& origin) {
  INFO(origin);
  CHECK(files.classes() == std::vector<std::string>{"Ape", "cat", "dog"});
  REQUIRE(files.size() == 5);
  const char* names[] = {"Ape/1.jpg", "cat/x.png", "dog/a.jpg", "dog/b.PNG", "dog/old/c.jpeg"};
  const char* contents[] = {"cmyk.jpg", "rgba.png", "rgb.jpg", "grey.png", "grey.jpg"};
  const int64_t labels[] = {0, 1, 2, 2, 2};
  for (int64_t i = 0; i < 5; ++i) {
    CHECK(files.name(i) == origin + "/" + names[i]);
    CHECK(files.label(i) == labels[i]);
    const auto bytes = io::read_file(golden("images") / contents[i]);
    CHECK(files.read(i, {}) == data::decode_image(bytes, ""));
  }
}

void shell(const std::string& command) {
  REQUIRE(std::system(command.c_str()) == 0);
}

std::string idx_header(std::vector<uint32_t> shape, char type = 8) {
  std::string bytes = {0, 0, type, static_cast<char>(shape.size())};
  for (const uint32_t size : shape)
    for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(size >> shift);
  return bytes;
}

std::string idx_error(const std::string& bytes) {
  return message_of([&] { data::parse_idx(bytes, "digits-idx3-ubyte"); });
}

}  // namespace

TEST_CASE("image files: folders and archives of class folders, in torchvision's order") {
  const TempDir dir;
  write_image_folder(dir.path());
  const std::string root = dir.path().string();
  check_images(*data::open_image_files(dir / "train"), root + "/train");
  shell("cd '" + root +
        "' && tar -cf plain.tar train && tar -czf packed.tar.gz ./train && cd train && tar -cf ../flat.tar "
        "Ape cat dog");
  check_images(*data::open_image_files(dir / "plain.tar/train"), root + "/plain.tar/train");
  check_images(*data::open_image_files(dir / "packed.tar.gz/train/"), root + "/packed.tar.gz/train");
  check_images(*data::open_image_files(dir / "flat.tar"), root + "/flat.tar");
}

TEST_CASE("image files: what cannot be opened says why") {
  const TempDir dir;
  write_image_folder(dir.path());
  const std::string root = dir.path().string();
  const auto message = [](const fs::path& path) { return message_of([&] { data::open_image_files(path); }); };
  CHECK(contains(message(dir / "nothing"), "no such file or folder"));
  CHECK_THROWS_AS(data::open_image_files(dir / "nothing"), UsageError);
  fs::create_directories(dir / "empty");
  CHECK(contains(message(dir / "empty"), "no image class/name.jpg"));
  shell("cd '" + root + "' && tar -czf packed.tar.gz train && head -c 3000 packed.tar.gz > cut.tar.gz");
  CHECK(contains(message(dir / "packed.tar.gz/test"), "no image class/name.jpg"));
  CHECK(contains(message(dir / "cut.tar.gz/train"), "cannot be read as a tar archive"));
  std::string flipped = io::read_file(dir / "packed.tar.gz");
  flipped[flipped.size() - 6] ^= 1;  // of the checksum at its end
  io::write_file(dir / "flipped.tar.gz", flipped);
  CHECK(contains(message(dir / "flipped.tar.gz/train"), "do not fit its checksum"));
  std::ofstream(dir / "text.tar") << "this is no archive";
  CHECK(contains(message(dir / "text.tar"), "cannot be read as a tar archive"));
}

TEST_CASE("image files: a damaged image is an error that names it, the others stay readable") {
  const TempDir dir;
  write_image_folder(dir.path());
  const auto bytes = io::read_file(dir / "train/dog/a.jpg");
  std::ofstream(dir / "train/dog/a.jpg", std::ios::binary) << bytes.substr(0, 300);
  shell("cd '" + dir.path().string() + "' && tar -cf plain.tar train");
  for (const char* path : {"train", "plain.tar/train"}) {
    const auto files = data::open_image_files(dir / path);
    CHECK(contains(message_of([&] { files->read(2, {}); }), std::string(path) + "/dog/a.jpg'"));
    CHECK(files->read(3, {}).height == 11);
  }
}

TEST_CASE("image files: IDX files as MNIST has them, packed or not") {
  const TempDir dir;
  std::string images = idx_header({3, 2, 4}), labels = idx_header({3});
  for (int i = 0; i < 24; ++i) images += static_cast<char>(10 * i);
  labels += std::string({7, 0, 2});
  for (const char* name : {"train-images-idx3-ubyte", "train-labels-idx1-ubyte"})
    std::ofstream(dir / name, std::ios::binary)
        << (std::string(name).find("images") != std::string::npos ? images : labels);
  const auto check = [&](const std::string& name) {
    const auto files = data::open_image_files(dir / name);
    REQUIRE(files->size() == 3);
    CHECK(files->classes().size() == 8);
    CHECK(files->label(0) == 7);
    CHECK(files->label(2) == 2);
    data::DecodeOptions grey;
    grey.channels = 1;
    CHECK(files->read(1, grey).pixels == std::vector<uint8_t>{80, 90, 100, 110, 120, 130, 140, 150});
    CHECK(files->read(1, {}).channels == 3);
    CHECK(contains(files->name(1), name + "[1]"));
  };
  check("train-images-idx3-ubyte");
  shell("gzip '" + dir.path().string() + "'/train-*");
  check("train-images-idx3-ubyte.gz");
  std::filesystem::remove(dir / "train-labels-idx1-ubyte.gz");
  CHECK(contains(message_of([&] { data::open_image_files(dir / "train-images-idx3-ubyte.gz"); }),
                 "train-labels-idx1-ubyte.gz', are not there"));
}

TEST_CASE("idx: each way a file can be broken") {
  const auto good = idx_header({2, 1, 2}) + "abcd";
  CHECK(data::parse_idx(good, "x").shape == std::vector<int64_t>{2, 1, 2});
  CHECK(data::parse_idx(good, "x").values == "abcd");
  CHECK(data::parse_idx(idx_header({0}), "x").values.empty());
  CHECK(contains(idx_error(""), "two zero bytes"));
  CHECK(contains(idx_error("PK\3\4"), "two zero bytes"));
  CHECK(contains(idx_error(idx_header({2}, 0x0D) + "ab"), "type 0x0d"));
  CHECK(contains(idx_error(good.substr(0, 9)), "claims 3 dimensions in 9 bytes"));
  CHECK(contains(idx_error(good.substr(0, good.size() - 1)), "has 3 values"));
  CHECK(contains(idx_error(good + "e"), "has 5 values"));
  CHECK(contains(idx_error(idx_header({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}) + "abcd"), "asks for more"));
}

TEST_CASE("gunzip: damaged, cut off and too large") {
  const TempDir dir;
  std::ofstream(dir / "a") << std::string(5000, 'a');
  shell("gzip '" + (dir / "a").string() + "'");
  const auto packed = io::read_file(dir / "a.gz");
  CHECK(data::gunzip(packed, "a.gz") == std::string(5000, 'a'));
  CHECK(data::gunzip("plain", "a") == "plain");
  CHECK(contains(message_of([&] { data::gunzip(packed.substr(0, packed.size() - 4), "a.gz"); }),
                 "ends too early"));
  CHECK(contains(message_of([&] { data::gunzip(packed, "a.gz", 100); }), "larger than 100 bytes"));
}
