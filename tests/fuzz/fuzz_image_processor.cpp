#include "d2dmoe/data/image_preprocess.h"
#include "fuzz.h"

using namespace d2dmoe;

/// Input: a preprocessor_config.json. What is accepted works on an image.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::expect_answer([&] {
    data::ImageGeometry geometry;
    geometry.height = geometry.width = 8;
    geometry.patch_height = geometry.patch_width = 4;
    const auto processor = data::parse_image_processor(fuzz::text_of(data, size), "fuzz.json", geometry);
    fuzz::require(processor.mean.size() == 3 && processor.std.size() == 3);
    const auto output = processor.output_size();
    if (!output || output->first > 64 || output->second > 64) return;
    if (processor.do_resize &&
        (processor.height > 64 || processor.width > 64 || processor.shortest_edge > 64))
      return;
    const auto image = processor.shape(data::Image(3, 5, 3));
    fuzz::require(image.height == output->first && image.width == output->second);
    std::vector<float> floats(image.pixels.size());
    processor.to_floats(image, floats.data());
  });
  return 0;
}
