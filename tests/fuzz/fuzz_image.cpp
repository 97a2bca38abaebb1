#include "d2dmoe/data/image_resize.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: one byte of options, then a JPEG or PNG file. What is decoded has the pixels it claims.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  data::DecodeOptions options;
  options.channels = (data[0] & 1) != 0 ? 1 : 3;
  options.max_pixels = 1 << 18;
  fuzz::expect_answer([&] {
    const auto image = data::decode_image(fuzz::text_of(data + 1, size - 1), "fuzz", options);
    fuzz::require(image.height >= 1 && image.width >= 1 && image.channels == options.channels);
    fuzz::require(image.pixels.size() == static_cast<size_t>(image.height * image.width * image.channels));
    const auto filter = static_cast<data::Resample>(data[0] % 6);
    const auto small = data::resize(image, 1 + data[0] % 7, 1 + data[0] % 5, filter);
    fuzz::require(small.height == 1 + data[0] % 7 && small.width == 1 + data[0] % 5);
  });
  return 0;
}
