#include "d2dmoe/data/image_resize.h"

#include <algorithm>
#include <cmath>

#include "d2dmoe/core/error.h"

namespace d2dmoe::data {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;  // 8 bits of pixel, 2 of overshoot
constexpr double kPi = 3.14159265358979323846;

double sinc(double x) {
  return x == 0 ? 1 : std::sin(x * kPi) / (x * kPi);
}

double support_of(Resample resample) {
  switch (resample) {
    case Resample::box:
      return 0.5;
    case Resample::bilinear:
    case Resample::hamming:
      return 1;
    case Resample::bicubic:
      return 2;
    case Resample::lanczos:
      return 3;
    case Resample::nearest:
      break;
  }
  return 0;
}

double filter_at(Resample resample, double x) {
  const double a = std::abs(x);
  switch (resample) {
    case Resample::box:
      return x > -0.5 && x <= 0.5 ? 1 : 0;
    case Resample::bilinear:
      return a < 1 ? 1 - a : 0;
    case Resample::hamming:
      if (a == 0) return 1;
      return a < 1 ? std::sin(a * kPi) / (a * kPi) * (0.54F + 0.46F * std::cos(a * kPi)) : 0;
    case Resample::bicubic: {
      constexpr double k = -0.5;
      if (a < 1) return ((k + 2) * a - (k + 3)) * a * a + 1;
      return a < 2 ? (((a - 5) * a + 8) * a - 4) * k : 0;
    }
    case Resample::lanczos:
      return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
    case Resample::nearest:
      break;
  }
  return 0;
}

// The inputs of each output along one axis, with their weights in fixed point.
struct Taps {
  struct Range {
    int64_t first, count;
  };
  std::vector<Range> ranges;
  std::vector<int32_t> weights;  // `size` for each output
  int64_t size = 0;
};

Taps make_taps(int64_t in, int64_t out, Resample resample) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double widening = std::max(scale, 1.0);
  const double support = support_of(resample) * widening;
  Taps taps;
  taps.size = static_cast<int64_t>(std::ceil(support)) * 2 + 1;
  taps.weights.assign(static_cast<size_t>(out * taps.size), 0);
  std::vector<double> weights(static_cast<size_t>(taps.size));
  for (int64_t i = 0; i < out; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const int64_t first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const int64_t count = std::min(in, static_cast<int64_t>(centre + support + 0.5)) - first;
    double sum = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double place = (static_cast<double>(k + first) - centre + 0.5) * (1.0 / widening);
      weights[static_cast<size_t>(k)] = filter_at(resample, place);
      sum += weights[static_cast<size_t>(k)];
    }
    for (int64_t k = 0; k < count; ++k) {
      const double weight =
          sum == 0 ? weights[static_cast<size_t>(k)] : weights[static_cast<size_t>(k)] / sum;
      const double fixed = weight * (1 << kPrecisionBits);
      taps.weights[static_cast<size_t>(i * taps.size + k)] =
          static_cast<int32_t>(fixed < 0 ? fixed - 0.5 : fixed + 0.5);
    }
    taps.ranges.push_back({first, count});
  }
  return taps;
}

uint8_t from_fixed(int32_t sum) {
  return static_cast<uint8_t>(std::clamp(sum >> kPrecisionBits, 0, 255));
}

constexpr int32_t kHalf = 1 << (kPrecisionBits - 1);

template <int kChannels>
void resize_row(const uint8_t* in, uint8_t* out, const Taps& taps) {
  const int32_t* weights = taps.weights.data();
  for (const auto& range : taps.ranges) {
    int32_t sums[kChannels];
    std::fill_n(sums, kChannels, kHalf);
    const uint8_t* pixel = in + range.first * kChannels;
    for (int64_t k = 0; k < range.count; ++k, pixel += kChannels)
      for (int c = 0; c < kChannels; ++c) sums[c] += pixel[c] * weights[k];
    for (int c = 0; c < kChannels; ++c) *out++ = from_fixed(sums[c]);
    weights += taps.size;
  }
}

Image resize_columns(const Image& image, int64_t width, Resample resample) {
  const Taps taps = make_taps(image.width, width, resample);
  Image out(image.height, width, image.channels);
  for (int64_t y = 0; y < image.height; ++y)
    image.channels == 3 ? resize_row<3>(image.row(y), out.row(y), taps)
                        : resize_row<1>(image.row(y), out.row(y), taps);
  return out;
}

Image resize_rows(const Image& image, int64_t height, Resample resample) {
  const Taps taps = make_taps(image.height, height, resample);
  Image out(height, image.width, image.channels);
  const int64_t bytes = image.row_bytes();
  std::vector<int32_t> sums(static_cast<size_t>(bytes));
  for (int64_t y = 0; y < height; ++y) {
    const auto range = taps.ranges[static_cast<size_t>(y)];
    std::fill(sums.begin(), sums.end(), kHalf);
    for (int64_t k = 0; k < range.count; ++k) {
      const uint8_t* in = image.row(range.first + k);
      const int32_t weight = taps.weights[static_cast<size_t>(y * taps.size + k)];
      for (int64_t x = 0; x < bytes; ++x) sums[static_cast<size_t>(x)] += in[x] * weight;
    }
    std::transform(sums.begin(), sums.end(), out.row(y), from_fixed);
  }
  return out;
}

// The input at each output's middle; added up step by step, because Pillow's rounding is that of the sum.
std::vector<int64_t> nearest_places(int64_t in, int64_t out) {
  const double step = static_cast<double>(in) / static_cast<double>(out);
  std::vector<int64_t> places;
  double place = step * 0.5;
  for (int64_t i = 0; i < out; ++i, place += step)
    places.push_back(std::min(in - 1, static_cast<int64_t>(place)));
  return places;
}

Image resize_nearest(const Image& image, int64_t height, int64_t width) {
  const auto columns = nearest_places(image.width, width), rows = nearest_places(image.height, height);
  Image out(height, width, image.channels);
  for (int64_t y = 0; y < height; ++y) {
    const uint8_t* in = image.row(rows[static_cast<size_t>(y)]);
    uint8_t* to = out.row(y);
    for (const int64_t column : columns) to = std::copy_n(in + column * image.channels, image.channels, to);
  }
  return out;
}

// The rounding between the passes makes their order visible; this is Pillow 13's choice.
bool rows_first(const Image& image, int64_t height, int64_t width) {
  return height < image.height && image.height - height > 2 * (image.width - width);
}

}  // namespace

Image resize(const Image& image, int64_t height, int64_t width, Resample resample) {
  constexpr int64_t kMaxEdge = 1 << 16;
  D2D_CHECK(height >= 1 && width >= 1 && height <= kMaxEdge && width <= kMaxEdge,
            "[image] resize: got {}x{} pixels, each must be from 1 to {}", height, width, kMaxEdge);
  D2D_CHECK(image.height >= 1 && image.width >= 1, "[image] resize: the image has no pixels");
  if (image.height == height && image.width == width) return image;
  if (resample == Resample::nearest) return resize_nearest(image, height, width);
  if (image.width == width) return resize_rows(image, height, resample);
  if (image.height == height) return resize_columns(image, width, resample);
  return rows_first(image, height, width)
             ? resize_columns(resize_rows(image, height, resample), width, resample)
             : resize_rows(resize_columns(image, width, resample), height, resample);
}

Image crop(const Image& image, int64_t top, int64_t left, int64_t height, int64_t width) {
  Image out(height, width, image.channels);
  const int64_t first = std::max<int64_t>(0, left), last = std::min(image.width, left + width);
  if (first >= last) return out;
  for (int64_t y = std::max<int64_t>(0, top); y < std::min(image.height, top + height); ++y)
    std::copy_n(image.row(y) + first * image.channels, (last - first) * image.channels,
                out.row(y - top) + (first - left) * image.channels);
  return out;
}

Image flip_horizontally(const Image& image) {
  Image out(image.height, image.width, image.channels);
  for (int64_t y = 0; y < image.height; ++y) {
    const uint8_t* in = image.row(y);
    uint8_t* to = out.row(y) + image.row_bytes();
    for (int64_t x = 0; x < image.width; ++x, in += image.channels)
      to = std::copy_n(in, image.channels, to - image.channels) - image.channels;
  }
  return out;
}

}  // namespace d2dmoe::data
