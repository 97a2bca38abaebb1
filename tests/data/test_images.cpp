// Against Pillow: scripts/golden/images.py.
#include <fstream>

#include "d2dmoe/data/image_resize.h"
#include "d2dmoe/io/atomic_file.h"
#include "d2dmoe/io/safetensors.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

std::filesystem::path image_file(const std::string& name) {
  return golden("images") / name;
}

data::Image decode_file(const std::string& name, int64_t channels = 3) {
  data::DecodeOptions options;
  options.channels = channels;
  return data::decode_image(io::read_file(image_file(name)), name, options);
}

torch::Tensor as_tensor(const data::Image& image) {
  return torch::tensor(image.pixels, torch::kUInt8).view({image.height, image.width, image.channels});
}

std::string decode_error(const std::string& bytes) {
  return message_of([&] { data::decode_image(bytes, "x/broken.jpg"); });
}

}  // namespace

TEST_CASE("images: every kind of file decodes to Pillow's pixels", "[golden]") {
  const auto expected = io::SafetensorsFile::open(image_file("golden.safetensors"));
  int files = 0;
  for (const auto& [name, entry] : expected->entries()) {
    const bool grey = name.ends_with(".grey");
    if (!grey && !name.ends_with(".rgb")) continue;
    INFO(name);
    const auto image = decode_file(name.substr(0, name.rfind('.')), grey ? 1 : 3);
    CHECK(torch::equal(as_tensor(image), expected->tensor(name)));
    ++files;
  }
  CHECK(files == 2 * 29);
}

TEST_CASE("images: resizing gives Pillow's pixels for every filter", "[golden]") {
  const auto expected = io::SafetensorsFile::open(image_file("golden.safetensors"));
  int sizes = 0;
  for (const auto& [name, entry] : expected->entries()) {
    const size_t dot = name.rfind('.');
    if (dot + 2 != name.size()) continue;  // "<file>.<height>x<width>.<filter>"
    INFO(name);
    const std::string file = name.substr(0, name.rfind('.', dot - 1));
    const auto want = expected->tensor(name);
    const auto got = data::resize(decode_file(file), want.size(0), want.size(1),
                                  static_cast<data::Resample>(name.back() - '0'));
    CHECK(torch::equal(as_tensor(got), want));
    ++sizes;
  }
  CHECK(sizes == 13 * 6);
}

TEST_CASE("images: a grey image resizes as its colour copy does") {
  const auto grey = decode_file("grey.png", 1);
  for (int filter = 0; filter < 6; ++filter) {
    const auto resample = static_cast<data::Resample>(filter);
    CHECK(data::with_channels(data::resize(grey, 17, 9, resample), 3) ==
          data::resize(data::with_channels(grey, 3), 17, 9, resample));
  }
}

TEST_CASE("images: crop fills with black outside, flip mirrors") {
  data::Image image(2, 3, 1);
  image.pixels = {1, 2, 3, 4, 5, 6};
  CHECK(data::crop(image, 1, 1, 1, 2).pixels == std::vector<uint8_t>{5, 6});
  CHECK(data::crop(image, -1, 2, 3, 2).pixels == std::vector<uint8_t>{0, 0, 3, 0, 6, 0});
  CHECK(data::crop(image, 5, 5, 1, 1).pixels == std::vector<uint8_t>{0});
  CHECK(data::flip_horizontally(image).pixels == std::vector<uint8_t>{3, 2, 1, 6, 5, 4});
  const auto colour = decode_file("rgb.png");
  CHECK(torch::equal(as_tensor(data::flip_horizontally(colour)), as_tensor(colour).flip(1)));
}

TEST_CASE("images: what is no image, damaged or cut off is an error that names the file") {
  const auto check = [](const std::string& bytes, const char* part) {
    const auto message = decode_error(bytes);
    INFO(message);
    CHECK(contains(message, "'x/broken.jpg'"));
    CHECK(contains(message, part));
  };
  check("", "is empty");
  check("GIF89a", "neither JPEG nor PNG");
  const auto jpeg = io::read_file(image_file("rgb.jpg")), png = io::read_file(image_file("rgb.png"));
  check(jpeg.substr(0, jpeg.size() / 2), "ends too early");
  check(jpeg.substr(0, jpeg.size() - 1), "ends too early");  // Pillow: "image file is truncated"
  check(jpeg.substr(0, 10), "damaged JPEG");
  check(png.substr(0, png.size() / 2), "damaged PNG");
  check(png.substr(0, 20), "damaged PNG");
  auto flipped = png;
  flipped[png.size() / 2] = static_cast<char>(flipped[png.size() / 2] ^ 0x55);
  check(flipped, "damaged PNG");
  // Without the chunk that ends it the picture is whole.
  CHECK(data::decode_image(png.substr(0, png.size() - 12), "x") == decode_file("rgb.png"));
}

TEST_CASE("images: a size beyond the limit is an error before memory is taken") {
  data::DecodeOptions options;
  options.max_pixels = 37 * 29 - 1;
  for (const char* name : {"rgb.jpg", "rgb.png"}) {
    const auto bytes = io::read_file(image_file(name));
    const auto message = message_of([&] { data::decode_image(bytes, name, options); });
    CHECK(contains(message, "claims 29x37 pixels, must not exceed 1072"));
  }
  auto huge = io::read_file(image_file("rgb.jpg"));
  const size_t frame = huge.find("\xFF\xC0");
  huge.replace(frame + 5, 4, "\xFD\xE8\xFD\xE8");
  CHECK(contains(message_of([&] { data::decode_image(huge, "x"); }), "claims 65000x65000"));
}

TEST_CASE("images: sizes that cannot be are errors") {
  const auto image = decode_file("dot.png");
  CHECK(contains(message_of([&] { data::resize(image, 0, 3, data::Resample::box); }), "got 0x3"));
  CHECK(contains(message_of([&] { data::with_channels(image, 4); }), "channels: got 4"));
}
