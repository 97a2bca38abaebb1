#include "d2dmoe/data/image_augment.h"

#include <algorithm>
#include <cmath>

namespace d2dmoe::data {
namespace {

constexpr double kTwoPi = 6.283185307179586;

double between(double low, double high, Rng& rng) {
  return low + (high - low) * rng.uniform();
}

struct CropBox {
  int64_t top, left, height, width;
};

CropBox draw_crop(int64_t height, int64_t width, const config::ImageOptions& options, Rng& rng) {
  const auto& scale = options.crop_scale;
  const auto& ratio = options.crop_ratio;
  const auto h = static_cast<double>(height), w = static_cast<double>(width);
  for (int attempt = 0; attempt < 10; ++attempt) {
    const double area = h * w * between(scale[0], scale[1], rng);
    const double aspect = std::exp(between(std::log(ratio[0]), std::log(ratio[1]), rng));
    const auto box_width = static_cast<int64_t>(std::nearbyint(std::sqrt(area * aspect)));
    const auto box_height = static_cast<int64_t>(std::nearbyint(std::sqrt(area / aspect)));
    if (box_width < 1 || box_height < 1 || box_width > width || box_height > height) continue;
    const auto top = static_cast<int64_t>(rng.below(static_cast<uint64_t>(height - box_height + 1)));
    const auto left = static_cast<int64_t>(rng.below(static_cast<uint64_t>(width - box_width + 1)));
    return {top, left, box_height, box_width};
  }
  // The largest box in the middle whose ratio is allowed.
  const double own = w / h, allowed = std::clamp(own, ratio[0], ratio[1]);
  const int64_t box_width = own > allowed ? static_cast<int64_t>(std::nearbyint(h * allowed)) : width;
  const int64_t box_height = own < allowed ? static_cast<int64_t>(std::nearbyint(w / allowed)) : height;
  return {(height - box_height) / 2, (width - box_width) / 2, box_height, box_width};
}

// Marsaglia and Tsang (2000), with their step for shapes below 1.
double gamma_draw(double shape, Rng& rng) {
  if (shape < 1) {
    const double below_one = std::pow(1 - rng.uniform(), 1 / shape);
    return gamma_draw(shape + 1, rng) * below_one;
  }
  const double d = shape - 1.0 / 3, c = 1 / std::sqrt(9 * d);
  while (true) {
    const double normal = std::sqrt(-2 * std::log(1 - rng.uniform())) * std::cos(kTwoPi * rng.uniform());
    const double root = 1 + c * normal;
    if (root <= 0) continue;
    const double v = root * root * root;
    if (std::log(1 - rng.uniform()) < 0.5 * normal * normal + d - d * v + d * std::log(v)) return d * v;
  }
}

}  // namespace

double beta_draw(double a, Rng& rng) {
  const double first = gamma_draw(a, rng), second = gamma_draw(a, rng);
  return first + second > 0 ? first / (first + second) : 0.5;
}

Image augment_image(const Image& image, int64_t height, int64_t width, Resample resample,
                    const config::ImageOptions& options, Rng& rng) {
  const auto box = draw_crop(image.height, image.width, options, rng);
  const auto resized = resize(crop(image, box.top, box.left, box.height, box.width), height, width, resample);
  return rng.uniform() < options.flip ? flip_horizontally(resized) : resized;
}

Mix draw_mix(int64_t height, int64_t width, const config::ImageOptions& options, Rng& rng) {
  const bool cut = options.cutmix > 0 && (options.mixup == 0 || rng.uniform() < 0.5);
  Mix mix;
  if (!cut && options.mixup == 0) return mix;
  mix.share = beta_draw(cut ? options.cutmix : options.mixup, rng);
  if (!cut) return mix;
  const double edge = std::sqrt(1 - mix.share);
  const auto box_height = static_cast<int64_t>(static_cast<double>(height) * edge),
             box_width = static_cast<int64_t>(static_cast<double>(width) * edge);
  const auto y = static_cast<int64_t>(rng.below(static_cast<uint64_t>(height))),
             x = static_cast<int64_t>(rng.below(static_cast<uint64_t>(width)));
  mix.top = std::clamp<int64_t>(y - box_height / 2, 0, height);
  mix.bottom = std::clamp<int64_t>(y + box_height / 2, 0, height);
  mix.left = std::clamp<int64_t>(x - box_width / 2, 0, width);
  mix.right = std::clamp<int64_t>(x + box_width / 2, 0, width);
  const auto area = static_cast<double>((mix.bottom - mix.top) * (mix.right - mix.left));
  mix.share = 1 - area / static_cast<double>(height * width);
  return mix;
}

void mix_images(const Mix& mix, float* first, const float* second, int64_t channels, int64_t height,
                int64_t width) {
  if (mix.share == 1) return;
  if (!mix.is_box()) {
    const auto a = static_cast<float>(mix.share), b = static_cast<float>(1 - mix.share);
    for (int64_t i = 0; i < channels * height * width; ++i) first[i] = a * first[i] + b * second[i];
    return;
  }
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t y = mix.top; y < mix.bottom; ++y) {
      const int64_t row = (c * height + y) * width;
      std::copy(second + row + mix.left, second + row + mix.right, first + row + mix.left);
    }
}

}  // namespace d2dmoe::data
