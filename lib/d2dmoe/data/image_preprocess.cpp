#include "d2dmoe/data/image_preprocess.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {
namespace {

// Height and width whose shorter one is `shortest`, cut off as the processors of transformers do.
std::pair<int64_t, int64_t> keep_aspect(const Image& image, int64_t shortest, int64_t longest) {
  const auto height = static_cast<double>(image.height), width = static_cast<double>(image.width);
  const double small = std::min(height, width), large = std::max(height, width);
  auto edge = static_cast<double>(shortest), exact = edge;
  if (longest > 0 && large / small * edge > static_cast<double>(longest)) {
    exact = static_cast<double>(longest) * small / large;
    edge = std::nearbyint(exact);
    if (small == edge) return {image.height, image.width};
  }
  const auto short_edge = std::max<int64_t>(1, static_cast<int64_t>(edge));
  const auto long_edge = std::max<int64_t>(1, static_cast<int64_t>(exact * large / small));
  return image.width <= image.height ? std::pair(long_edge, short_edge) : std::pair(short_edge, long_edge);
}

int64_t floor_half(int64_t value) {
  return value >= 0 ? value / 2 : -((1 - value) / 2);
}

}  // namespace

Image ImageProcessor::shape(const Image& image) const {
  Image out = image;
  if (do_resize) {
    const auto [h, w] =
        shortest_edge > 0 ? keep_aspect(image, shortest_edge, longest_edge) : std::pair(height, width);
    out = resize(image, h, w, resample);
  }
  if (!do_center_crop) return out;
  return crop(out, floor_half(out.height - crop_height), floor_half(out.width - crop_width), crop_height,
              crop_width);
}

std::optional<std::pair<int64_t, int64_t>> ImageProcessor::output_size() const {
  if (do_center_crop) return std::pair(crop_height, crop_width);
  if (do_resize && shortest_edge == 0) return std::pair(height, width);
  return std::nullopt;
}

void ImageProcessor::to_floats(const Image& image, float* out) const {
  D2D_CHECK(image.channels == static_cast<int64_t>(mean.size()) && mean.size() == std.size(),
            "[image] channels: got {}, mean and standard deviation have {} and {}", image.channels,
            mean.size(), std.size());
  const int64_t count = image.height * image.width;
  for (int64_t c = 0; c < image.channels; ++c) {
    float table[256];  // a byte has few values
    for (int value = 0; value < 256; ++value) {
      const auto scaled = static_cast<float>(do_rescale ? value * rescale_factor : value);
      table[value] = do_normalize ? (scaled - static_cast<float>(mean[static_cast<size_t>(c)])) /
                                        static_cast<float>(std[static_cast<size_t>(c)])
                                  : scaled;
    }
    const uint8_t* in = image.pixels.data() + c;
    for (int64_t i = 0; i < count; ++i, in += image.channels) *out++ = table[*in];
  }
}

}  // namespace d2dmoe::data
