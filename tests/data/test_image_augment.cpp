#include <algorithm>
#include <cmath>

#include "d2dmoe/data/image_augment.h"
#include "support/support.h"

using namespace d2dmoe;
using namespace d2dmoe::test;

namespace {

// Every pixel tells its place.
data::Image gradient(int64_t height, int64_t width) {
  data::Image image(height, width, 3);
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x) {
      image.row(y)[3 * x] = static_cast<uint8_t>(y);
      image.row(y)[3 * x + 1] = static_cast<uint8_t>(x);
    }
  return image;
}

struct Span {
  int low, high;
};

Span span_of(const data::Image& image, int channel) {
  Span span{255, 0};
  for (size_t i = static_cast<size_t>(channel); i < image.pixels.size(); i += 3) {
    span.low = std::min<int>(span.low, image.pixels[i]);
    span.high = std::max<int>(span.high, image.pixels[i]);
  }
  return span;
}

}  // namespace

TEST_CASE("augmentation: the seed decides, and seeds differ") {
  config::ImageOptions options;
  options.crop_scale = {0.1, 1};
  options.flip = 0.5;
  const auto image = gradient(60, 90);
  const auto draw = [&](uint64_t seed) {
    Rng rng(seed);
    return data::augment_image(image, 16, 24, data::Resample::bilinear, options, rng);
  };
  CHECK(draw(1) == draw(1));
  CHECK_FALSE(draw(1) == draw(2));
  CHECK(draw(3).height == 16);
  CHECK(draw(3).width == 24);
}

TEST_CASE("augmentation: crops keep to the asked areas and ratios") {
  config::ImageOptions options;
  options.crop_scale = {0.2, 0.5};
  options.crop_ratio = {0.5, 2};
  const auto image = gradient(200, 240);
  double smallest = 1, largest = 0, flattest = 10, steepest = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    Rng rng(seed);
    // Nearest keeps the places of the corners within a step of the crop's edges.
    const auto out = data::augment_image(image, 64, 64, data::Resample::nearest, options, rng);
    const auto rows = span_of(out, 0), columns = span_of(out, 1);
    const double height = (rows.high - rows.low) * 64.0 / 63,
                 width = (columns.high - columns.low) * 64.0 / 63;
    smallest = std::min(smallest, height * width / (200 * 240));
    largest = std::max(largest, height * width / (200 * 240));
    flattest = std::min(flattest, width / height);
    steepest = std::max(steepest, width / height);
  }
  CHECK(smallest == Approx(0.2).margin(0.02));
  CHECK(largest == Approx(0.5).margin(0.02));
  CHECK(flattest == Approx(0.5).margin(0.05));
  CHECK(steepest == Approx(2).margin(0.15));
}

TEST_CASE("augmentation: where no crop fits, the largest middle one is taken") {
  config::ImageOptions options;
  options.crop_scale = {1, 1};
  options.crop_ratio = {0.75, 4.0 / 3};
  Rng rng(1);
  const auto out = data::augment_image(gradient(30, 200), 30, 40, data::Resample::nearest, options, rng);
  CHECK(span_of(out, 0).low == 0);
  CHECK(span_of(out, 0).high == 29);
  CHECK(span_of(out, 1).low == 80);
  CHECK(span_of(out, 1).high == 119);
}

TEST_CASE("augmentation: the flip has its probability") {
  config::ImageOptions options;
  options.crop_ratio = {1, 1};
  options.flip = 0.25;
  const auto image = gradient(8, 8);
  int flipped = 0;
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    Rng rng(seed);
    const auto out = data::augment_image(image, 8, 8, data::Resample::bilinear, options, rng);
    const bool turned = out == data::flip_horizontally(image);
    CHECK((turned || out == image));
    flipped += turned;
  }
  CHECK(flipped == Approx(500).margin(80));  // 4 standard deviations
}

TEST_CASE("augmentation: Beta draws have scipy's quantiles") {
  struct Case {
    double a;
    double at_10, at_25;  // scipy.stats.beta.ppf; the others by symmetry
  };
  for (const auto& [a, at_10, at_25] : {Case{0.2, 0.000248, 0.023815}, Case{0.8, 0.07105, 0.219295},
                                        Case{1, 0.1, 0.25}, Case{4, 0.278602, 0.378848}}) {
    INFO(a);
    Rng rng(static_cast<uint64_t>(100 * a));
    std::vector<double> draws(20000);
    for (double& draw : draws) draw = data::beta_draw(a, rng);
    for (const auto& [value, share] : {std::pair(at_10, 0.1), std::pair(at_25, 0.25), std::pair(0.5, 0.5),
                                       std::pair(1 - at_25, 0.75), std::pair(1 - at_10, 0.9)}) {
      const auto below = std::count_if(draws.begin(), draws.end(), [v = value](double d) { return d < v; });
      CHECK(static_cast<double>(below) / 20000 == Approx(share).margin(0.014));  // 4 standard deviations
    }
  }
}

TEST_CASE("augmentation: mixup blends, cutmix replaces a box whose area is the label's share") {
  config::ImageOptions options;
  options.mixup = 0.8;
  const int64_t h = 10, w = 20;
  const std::vector<float> ones(3 * h * w, 1), zeros(3 * h * w, 0);
  bool seen_box = false, seen_blend = false;
  for (const bool cut : {false, true}) {
    options.cutmix = cut ? 1 : 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
      Rng rng(seed);
      const auto mix = data::draw_mix(h, w, options, rng);
      auto mixed = ones;
      data::mix_images(mix, mixed.data(), zeros.data(), 3, h, w);
      double sum = 0;
      for (const float value : mixed) sum += value;
      CHECK(sum / (3 * h * w) == Approx(mix.share).margin(1e-5));
      CHECK((mix.share >= 0 && mix.share <= 1));
      if (mix.is_box()) {
        CHECK(cut);
        CHECK(std::all_of(mixed.begin(), mixed.end(), [](float v) { return v == 0 || v == 1; }));
        CHECK(mixed[static_cast<size_t>(mix.top * w + mix.left)] == 0);
        seen_box = true;
      } else if (mix.share < 1) {
        CHECK(mixed[0] == Approx(mix.share));
        seen_blend = true;
      }
    }
  }
  CHECK((seen_box && seen_blend));
  options.mixup = options.cutmix = 0;
  Rng rng(1);
  CHECK(data::draw_mix(h, w, options, rng).share == 1);
}
